/** Which device a model is loaded on. */
import { openDevice } from "../../src/engine/open-device";
import { LLM } from "../../src/llm/llm";
import { describeDevice } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";

const hasGpu = testDevices.includes("cuda");

test("auto takes a GPU where one works, else the CPU, and says which", async () => {
  const device = openDevice({});
  expect(device.kind).toBe(hasGpu ? "cuda" : "cpu");
  const described = describeDevice(device.describe());
  device.close();
  const llm = await LLM.load(undefined, { maxNumSeqs: 1 });
  expect(llm.info.device).toBe(`${hasGpu ? "cuda" : "cpu"} (${described})`);
  await llm.close();
});

test("the CPU can always be asked for", () => {
  const device = openDevice({ device: "cpu", threads: 1 });
  expect(device.describe()).toMatchObject({ kind: "cpu", threads: 1 });
  expect(device.choosesKernels).toBe(false);
  device.close();
});

(hasGpu ? test.skip : test)(
  "a GPU asked for by name where there is none is an error that says what is missing",
  async () => {
    await expect(LLM.load(undefined, { device: "cuda" })).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_(NOT_BUILT|NO_DEVICE)$/),
      message: expect.stringMatching(/npx mamba-serve build|driver|NVIDIA GPU|cannot be loaded/),
    });
  },
);

test("a device that there is none of is refused with those there are", () => {
  expect(() => openDevice({ device: "tpu" as never })).toThrow(/device must be auto, cuda or cpu, got tpu/);
});
