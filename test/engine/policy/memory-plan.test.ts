import { engineConfig } from "../../../src/engine/policy/config";
import { fitMemory, hostSnapshots, stateBudget } from "../../../src/engine/policy/memory-plan";

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
    const wanted = engineConfig({ maxNumSeqs: 16, prefixCache: false }, { kind: "cpu", chunkSize: 64 });
    const { config, note } = fitMemory(
      wanted,
      { maxNumSeqs: 16 },
      { kind: "cpu", stateBytesPerSeq: 10, kvBytesPerToken: 0, snapshotBytes: 8, budget },
    );
    expect(config).toEqual({ ...wanted, maxNumSeqs: sequences, maxNumBatchedTokens: tokens });
    expect(note).toEqual(sequences === 16 ? null : expect.stringContaining(`${sequences} instead of 16`));
  });
});

test.each([
  { prefixCacheStates: undefined, snapshots: 2, why: "a fifth of the memory" },
  { prefixCacheStates: 5, snapshots: 5, why: "as asked for" },
  { prefixCacheStates: 50, snapshots: 11, why: "all that is left beside one sequence" },
])("$snapshots snapshots: $why", ({ prefixCacheStates, snapshots }) => {
  const options = { maxNumSeqs: 4, ...(prefixCacheStates === undefined ? {} : { prefixCacheStates }) };
  const wanted = engineConfig(options, { kind: "cuda", chunkSize: 64 });
  const bytes = { stateBytesPerSeq: 10, kvBytesPerToken: 0, snapshotBytes: 8, budget: 100 };
  expect(fitMemory(wanted, options, { kind: "cuda", ...bytes }).config.numSnapshots).toBe(snapshots);
});

describe("the host's memory for states of prefixes", () => {
  const states = (prefixCacheHostMemory: number | undefined, numSnapshots = 4, bytes = 2 ** 28) =>
    hostSnapshots(prefixCacheHostMemory === undefined ? {} : { prefixCacheHostMemory }, { numSnapshots }, bytes);

  test("holds as many as its GiB have room for, and none by default", () => {
    expect([states(2), states(0.6), states(undefined)]).toEqual([8, 2, 0]);
  });

  test("is of no use without states on the device, or for a model without any", () => {
    expect([states(2, 0), states(2, 4, 0)]).toEqual([0, 0]);
  });

  test.each([-1, 2 ** 20, Number.NaN])("of %d GiB is refused", (gib) => {
    expect(() => states(gib)).toThrow(
      expect.objectContaining({ code: "ERR_ARGUMENT", subject: "prefixCacheHostMemory" }),
    );
  });
});

describe("with KV caches", () => {
  const wanted = engineConfig({ maxNumSeqs: 16, maxModelLen: 640, prefixCache: false }, { kind: "cpu", chunkSize: 64 });
  const planFor = (budget: number) =>
    fitMemory(
      wanted,
      { maxNumSeqs: 16 },
      { kind: "cpu", stateBytesPerSeq: 1000, kvBytesPerToken: 2, snapshotBytes: 900, budget },
    );

  test.each([
    // 16 states of 1,000 and 16 times 640 tokens of 2 bytes, in pages of 64.
    { budget: 1e6, sequences: 16, pages: 160 },
    { budget: 16 * 2280, sequences: 16, pages: 160 },
    { budget: 16 * 2280 - 1, sequences: 15, pages: 150 },
    { budget: 5000, sequences: 2, pages: 20 },
    { budget: 2280, sequences: 1, pages: 10 },
  ])("states come first, pages get the rest: $budget bytes", ({ budget, sequences, pages }) => {
    expect(planFor(budget).config).toMatchObject({ maxNumSeqs: sequences, numPages: pages });
  });

  test("the longest sequence has to fit", () => {
    expect(() => planFor(2279)).toThrow(expect.objectContaining({ code: "ERR_MEMORY", subject: "maxModelLen" }));
  });
});
