import { engineConfig, fitSequences, resolveDtypes, stateBudget } from "../../../src/engine/policy/config";

test.each([
  ["float32", "f32"],
  ["bfloat16", "bf16"],
  ["float16", "f16"],
  [null, "bf16"],
] as const)("a checkpoint of %s runs in %s unless told otherwise", (torchDtype, compute) => {
  expect(resolveDtypes({}, { torchDtype })).toEqual({ compute, state: "f32" });
  expect(resolveDtypes({ dtype: "float16" }, { torchDtype })).toEqual({ compute: "f16", state: "f32" });
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

describe("the memory for states", () => {
  const gpu = { kind: "cuda", free: 50, total: 100 } as const;

  test("is what the utilization leaves on a GPU, and a share of what is free on a host", () => {
    expect(stateBudget(gpu, {})).toBeCloseTo(40);
    expect(stateBudget(gpu, { gpuMemoryUtilization: 0.6 })).toBeCloseTo(10);
    expect(stateBudget(gpu, { gpuMemoryUtilization: 0.2 })).toBe(0);
    expect(stateBudget({ ...gpu, kind: "cpu" }, {})).toBe(25);
  });

  test.each([0, -1, 1.1, Number.NaN])("a utilization of %d is refused", (gpuMemoryUtilization) => {
    expect(() => stateBudget(gpu, { gpuMemoryUtilization })).toThrow(
      "gpuMemoryUtilization must be above 0 and at most 1",
    );
  });

  test.each([
    { budget: 1000, sequences: 16, tokens: 528 },
    { budget: 160, sequences: 16, tokens: 528 },
    { budget: 159, sequences: 15, tokens: 527 },
    { budget: 0, sequences: 1, tokens: 513 },
  ])("limits the sequences, with a note, and refuses nothing: $budget bytes", ({ budget, sequences, tokens }) => {
    const wanted = engineConfig({ maxNumSeqs: 16 }, { kind: "cpu", chunkSize: 64 });
    const { config, note } = fitSequences(wanted, { maxNumSeqs: 16 }, { kind: "cpu", stateBytesPerSeq: 10, budget });
    expect(config).toEqual({ ...wanted, maxNumSeqs: sequences, maxNumBatchedTokens: tokens });
    expect(note).toEqual(sequences === 16 ? null : expect.stringContaining(`${sequences} instead of 16`));
  });
});
