import { differenceOf } from "../../src/bench/difference";
import type { KernelCase } from "../../src/bench/kernel-case";
import { kernelCases } from "../../src/bench/kernel-cases";
import { KernelCheck } from "../../src/bench/kernel-check";
import { rmsNorm } from "../../src/ops/norm";
import { Device } from "../../src/tensor/device";

describe("a check", () => {
  let device: Device;
  let reference: Device;
  let check: KernelCheck;
  beforeAll(() => {
    device = Device.open({ kind: "cpu", threads: 1 });
    reference = Device.open({ kind: "cpu", threads: 2 });
    check = new KernelCheck(device, reference);
  });
  afterAll(() => {
    check.free();
    reference.close();
    device.close();
  });

  const right: KernelCase = kernelCases({ models: ["storyteller-6m"], ops: ["rms_norm"] })[0]!;

  /** The case with something else on the device, and the right thing on the reference. */
  function wrong(launch: (correct: () => void) => void): KernelCase {
    const checked: KernelCase["checked"] = (inputs) => {
      const problem = right.checked(inputs);
      const { launch: correct } = problem;
      return inputs.device === reference ? problem : { ...problem, launch: () => launch(correct) };
    };
    return { ...right, checked };
  }
  const mismatchOf = (one: KernelCase) => check.firstMismatch([one], () => {});

  it("passes what is right", async () => {
    expect(await mismatchOf(right)).toBeNull();
  });

  it("finds what was not written", async () => {
    expect(await mismatchOf(wrong(() => {}))).toMatch(
      /^rms_norm width 320, B=1: out: 320 of 320 elements differ; element 0 is NaN/,
    );
  });

  it("finds another result, in an output that is also an input", async () => {
    const twice = wrong((correct) => {
      correct();
      correct();
    });
    expect(await mismatchOf(twice)).toMatch(/differ/);
  });

  it("finds another op", async () => {
    const other: KernelCase = {
      ...right,
      checked: (inputs) => {
        const x = inputs.normal("bf16", [4, 320]);
        const out = inputs.output("bf16", [4, 320]);
        const weight = inputs.normal("f32", [320]);
        const eps = inputs.device === reference ? 1e-5 : 10;
        return { launch: () => rmsNorm(inputs.stream, { out, x, weight, eps }), outputs: { out } };
      },
    };
    expect(await mismatchOf(other)).toMatch(/^rms_norm .*: out: \d+ of 1280 elements differ/);
  });

  it("of cases that reduce to the same problem runs once", async () => {
    const cases = kernelCases({ models: ["storyteller-6m"], ops: ["embedding"] });
    const seen: string[] = [];
    expect(await check.firstMismatch(cases, (_done, _total, name) => seen.push(name))).toBeNull();
    expect(seen.map((name) => Number(/B=(\d+)/.exec(name)![1]))).toEqual([1, 8, 64, 256]);
    expect(cases.map(({ tokens }) => tokens)).toEqual([1, 8, 64, 256, 8192]);
  });
});

describe("a difference", () => {
  const nan = Number.NaN;
  it.each([
    ["f32 within the tolerance", "f32", [1.05, -100], [1, -101], null],
    ["f32 past it", "f32", [1, 1.3], [1, 1], /^1 of 2 elements differ; element 1 is 1\.2\d*, expected 1$/],
    ["all a little off", "f32", [1.02, -1.02], [1, -1], /^relative error 2.0e-2$/],
    ["NaN in both", "f32", [nan], [nan], /element 0 is NaN, expected NaN/],
    ["NaN in one", "f32", [nan], [1], /element 0 is NaN, expected 1/],
  ] as const)("%s", (_, dtype, actual, expected, message) => {
    const difference = differenceOf(dtype, Float32Array.from(actual), Float32Array.from(expected));
    if (message === null) expect(difference).toBeNull();
    else expect(difference).toMatch(message);
  });

  it("reads bf16, and takes NaN for none", () => {
    const words = (...values: number[]) => Uint16Array.from(values);
    expect(differenceOf("bf16", words(0x3f80, 0xbf80), words(0x3f81, 0xbf80))).toBeNull();
    expect(differenceOf("bf16", words(0x3f80), words(0x4000))).toMatch(/element 0 is 1, expected 2/);
    expect(differenceOf("bf16", words(0xffff), words(0xffff))).toMatch(/NaN/);
  });

  it("takes whole numbers exactly", () => {
    expect(differenceOf("i32", Int32Array.of(1000), Int32Array.of(1001))).toMatch(/is 1000, expected 1001/);
    expect(differenceOf("i32", Int32Array.of(-1), Int32Array.of(-1))).toBeNull();
  });
});
