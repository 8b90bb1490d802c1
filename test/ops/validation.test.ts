/** Misuse: every op answers it with an EngineError of the right code, and works on afterwards. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ErrorCode } from "../../src/errors";
import { sample } from "../../src/ops";
import { Device } from "../../src/tensor/device";
import type { DType } from "../../src/tensor/dtype";
import { describeEachBackend } from "../helpers/backends";
import { failureOf } from "../helpers/failure";
import { isTensorArg, type ValidCall, type Values } from "./cases/call-arguments";
import { elements, materialise, pack } from "./cases/materialise";
import { misuse } from "./cases/misuse";
import { validCalls } from "./cases/valid-calls";

const callOf = (op: string): ValidCall => validCalls.find((valid) => valid.op === op)!;

/** Every tensor argument of every op. */
const tensorArgs = validCalls.flatMap((valid) =>
  Object.entries(valid.args).flatMap(([name, arg]) => (isTensorArg(arg) ? [{ valid, name, arg }] : [])),
);
const title = ({ valid, name }: (typeof tensorArgs)[number]) => `${valid.op}, ${name}`;
const each = (args: typeof tensorArgs) => args.map((row) => [title(row), row] as const);

/** queryStartLoc -> query_start_loc. */
const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

describeEachBackend((backend) => {
  /** Fails as said, naming the subject; then the valid call still works. */
  async function expectFailure(valid: ValidCall, args: Values, code: ErrorCode, message: string): Promise<void> {
    const error = failureOf(() => valid.call(backend.stream, args));
    expect({ code: error.code, subject: error.subject }).toEqual({ code, subject: valid.op });
    expect(error.message).toContain(message);
    valid.call(backend.stream, materialise(backend, valid));
    await backend.stream.done();
  }

  test.each(validCalls.map((valid) => [valid.op, valid] as const))("%s: the valid call works", async (_op, valid) => {
    valid.call(backend.stream, materialise(backend, valid));
    await backend.stream.done();
  });

  test("every op of the addon is here", () => {
    const rows = readFileSync(join(__dirname, "../../native/ops/ops.def"), "utf8").matchAll(/^OP\((\w+),/gm);
    expect(validCalls.map(({ op }) => op)).toEqual(Array.from(rows, ([, op]) => op));
  });

  describe("wrong rank", () => {
    test.each(each(tensorArgs.filter(({ arg }) => !arg.packed && !arg.anyTensor)))(
      "%s",
      async (_title, { valid, name, arg }) => {
        // Ranks that no form of an argument has: a is [heads] or [heads, head_dim, state_size], and so on.
        const shape = arg.anyStrides ? [1, 1, 1, 1] : [1, ...arg.shape].slice(-4);
        const wrong = shape.length === arg.shape.length ? { ...arg, shape: arg.shape.slice(1) } : { ...arg, shape };
        const { values: _, ...rest } = wrong;
        await expectFailure(valid, materialise(backend, valid, { [name]: rest }), "ERR_SHAPE", `${snake(name)} is [`);
      },
    );
  });

  describe("wrong type", () => {
    const anything = ({ valid, name, arg }: (typeof tensorArgs)[number]) =>
      arg.anyTensor || (valid.op === "gather_rows" && name === "x");
    test.each(each(tensorArgs.filter((row) => !row.arg.packed && !anything(row))))(
      "%s",
      async (_title, { valid, name, arg }) => {
        const dtype: DType = arg.dtype === "i32" ? "f32" : "i32";
        const { values: _, ...rest } = arg;
        const args = materialise(backend, valid, { [name]: { ...rest, dtype } });
        await expectFailure(valid, args, "ERR_DTYPE", `${snake(name)} is ${dtype}, expected`);
      },
    );
  });

  describe("freed tensor", () => {
    test.each(each(tensorArgs))("%s", async (_title, { valid, name, arg }) => {
      const args = materialise(backend, valid);
      const freed = backend.device.tensor(arg.dtype, arg.shape);
      freed.free();
      await expectFailure(valid, { ...args, [name]: freed }, "ERR_DISPOSED", `argument ${snake(name)}: `);
    });
  });

  describe("tensor of another device", () => {
    let other: Device;
    beforeAll(() => {
      other = Device.open({ kind: backend.kind, threads: 1 });
    });
    afterAll(() => other.close());

    test.each(each(tensorArgs))("%s", async (_title, { valid, name, arg }) => {
      const args = materialise(backend, valid);
      const foreign = arg.packed
        ? pack(other.stream, new Float32Array(elements(arg.shape)), arg)
        : other.tensor(arg.dtype, arg.shape);
      await expectFailure(valid, { ...args, [name]: foreign }, "ERR_DEVICE", "lives on another device");
      foreign.free();
    });
  });

  describe("strided where it must not be", () => {
    test.each(each(tensorArgs.filter(({ arg }) => !arg.packed && !arg.anyStrides)))(
      "%s",
      async (_title, { valid, name, arg }) => {
        const strides = arg.shape.map((_, i) => 2 * elements(arg.shape.slice(i + 1)));
        const spread = backend.place(arg.dtype, [2 * elements(arg.shape)], {
          values: new Float32Array(2 * elements(arg.shape)),
        });
        const args = { ...materialise(backend, valid), [name]: spread.view(arg.shape, strides) };
        const error = failureOf(() => valid.call(backend.stream, args));
        expect(error).toMatchObject({ subject: valid.op });
        expect(["ERR_SHAPE", "ERR_ARGUMENT"]).toContain(error.code);
        expect(error.message).toContain(snake(name));
      },
    );

    test("gaps between the rows of normed, which x may have", async () => {
      const valid = callOf("rms_norm_linear");
      const spread = backend.place("f32", [3, 16], { values: new Float32Array(3 * 16), rowPad: 4 }).tensor;
      const args = materialise(backend, valid);
      valid.call(backend.stream, { ...args, x: spread });
      await expectFailure(valid, { ...args, normed: spread }, "ERR_SHAPE", "normed of shape [3, 16] is not contiguous");
    });

    test("a gap inside a slot of the state", async () => {
      const valid = callOf("ssd_state_update");
      const state = backend.place("f32", [4 * 2 * 16 * 16]).view([4, 2, 8, 16], [512, 256, 32, 1]);
      const args = { ...materialise(backend, valid), state };
      await expectFailure(valid, args, "ERR_ARGUMENT", "state has a gap inside it");
    });
  });

  describe("wrong sizes and values", () => {
    test.each(misuse)("%s %j", async (op, changes, code, message) => {
      const valid = callOf(op);
      await expectFailure(valid, materialise(backend, valid, changes), code, message);
    });

    test.each([
      ["causal_conv1d_varlen", "x"],
      ["attention_varlen", "q"],
      ["paged_attention", "q"],
      ["causal_conv1d_replay", "x"],
      ["all_reduce", "x"],
    ])("%s in place", async (op, input) => {
      const valid = callOf(op);
      const args = materialise(backend, valid);
      await expectFailure(valid, { ...args, out: args[input]! }, "ERR_ARGUMENT", `out is ${input}`);
    });

    test("a gap inside a page", async () => {
      const valid = callOf("attention_varlen");
      const kPages = backend.place("f32", [4 * 2 * 16 * 16]).view([4, 2, 16, 8], [512, 256, 16, 1]);
      await expectFailure(valid, { ...materialise(backend, valid), kPages }, "ERR_ARGUMENT", "k_pages has a gap");
    });
  });

  test("more tokens than an i32 tells apart", () => {
    const { device, stream } = backend;
    const arena = device.measuringArena();
    const [tokens, params] = [backend.integers([0]), backend.place("i32", [1, 8]).tensor];
    const graph = stream.capture(() => {
      const draw = () => sample(stream, { tokens, params, logits: arena.tensor("f32", [1, 2 ** 31]) });
      expect(failureOf(() => arena.scope(draw))).toMatchObject({ code: "ERR_ARGUMENT", subject: "sample" });
    });
    graph.free();
    arena.free();
  });

  test("a freed stream's device refuses every op", () => {
    const device = Device.open({ kind: backend.kind, threads: 1 });
    const tensor = device.tensor("f32", [3, 16]);
    device.close();
    const valid = callOf("rms_norm");
    const args = { out: tensor, x: tensor, weight: tensor, eps: 1e-5 };
    expect(failureOf(() => valid.call(device.stream, args)).code).toBe("ERR_DISPOSED");
  });
});
