import { contextLength, engineConfig, hostDtypeOf, resolveDtypes } from "../../../src/engine/policy/config";

test.each([
  ["float32", "f32"],
  ["bfloat16", "bf16"],
  ["float16", "f16"],
  [null, "bf16"],
] as const)("a checkpoint of %s runs in %s unless told otherwise", (torchDtype, compute) => {
  expect(resolveDtypes({}, { torchDtype })).toEqual({ compute, state: "f32", kv: compute });
  expect(resolveDtypes({ dtype: "float16" }, { torchDtype })).toEqual({ compute: "f16", state: "f32", kv: "f16" });
});

test("the state's type is the option's, else the checkpoint's", () => {
  const model = { torchDtype: "float16", mambaSsmCacheDtype: "bfloat16" } as const;
  expect(resolveDtypes({}, model).state).toBe("bf16");
  expect(resolveDtypes({ stateDtype: "float16" }, model).state).toBe("f16");
});

test.each(["dtype", "stateDtype"])("%s of another name is refused", (option) => {
  const resolve = () => resolveDtypes({ [option]: "float64" }, { torchDtype: null });
  expect(resolve).toThrow(`${option} must be auto, float32 or bfloat16 or float16, got float64`);
});

test("deterministic: a state of floats, also where the checkpoint asks for less, and steps with room for a chunk", () => {
  const model = { torchDtype: "bfloat16", mambaSsmCacheDtype: "bfloat16" } as const;
  expect(resolveDtypes({ deterministic: true }, model).state).toBe("f32");
  expect(() => resolveDtypes({ deterministic: true, stateDtype: "float16" }, model)).toThrow(
    "stateDtype must be auto or float32 with deterministic, got float16",
  );
  const guessing = { deterministic: true, speculativeConfig: { method: "ngram" } } as const;
  expect(() => engineConfig(guessing, { kind: "cpu", chunkSize: 64 })).toThrow("speculativeConfig cannot be had");
  const options = { deterministic: true, maxNumSeqs: 8, maxNumBatchedTokens: 16 };
  expect(engineConfig(options, { kind: "cpu", chunkSize: 64 })).toMatchObject({ maxNumBatchedTokens: 72 });
});

test("a GPU's steps are larger than a CPU's, and hold a token of each sequence on top of the prompts'", () => {
  const sizes = (kind: "cpu" | "cuda", options = {}) => {
    const { maxNumSeqs, maxNumBatchedTokens } = engineConfig(options, { kind, chunkSize: 64 });
    return [maxNumSeqs, maxNumBatchedTokens];
  };
  expect(sizes("cpu")).toEqual([64, 576]);
  expect(sizes("cuda")).toEqual([256, 8448]);
  expect(sizes("cuda", { maxNumSeqs: 8 })).toEqual([8, 8200]);
  expect(sizes("cpu", { maxNumSeqs: 8, maxNumBatchedTokens: 4 })).toEqual([8, 8]);
});

test("the context is the default, what is asked for, and never more than the model's positions", () => {
  expect([contextLength({}), contextLength({ maxModelLen: 300_000 }), contextLength({}, 4096)]).toEqual([
    131_072, 300_000, 4096,
  ]);
  expect(contextLength({ maxModelLen: 4096 }, 4096)).toBe(4096);
  const error = expect.objectContaining({ code: "ERR_ARGUMENT", subject: "maxModelLen" });
  expect(() => contextLength({ maxModelLen: 4097 }, 4096)).toThrow(error);
});

describe("states in host memory", () => {
  const refusal = (options: Parameters<typeof hostDtypeOf>[0]) => {
    try {
      return hostDtypeOf(options);
    } catch (error) {
      return (error as Error).message;
    }
  };

  test("lie there as they are, or as integers", () => {
    expect([refusal({}), refusal({ prefixCacheHostDtype: "int8" })]).toEqual(["auto", "int8"]);
    expect(refusal({ deterministic: true })).toBe("auto");
  });

  test("other names are refused, and rounding in the deterministic mode", () => {
    expect(refusal({ prefixCacheHostDtype: "int4" as "int8" })).toMatch("must be auto or int8, got int4");
    expect(refusal({ prefixCacheHostDtype: "int8", deterministic: true })).toMatch("must be auto with deterministic");
  });
});
