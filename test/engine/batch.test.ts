import assert from "node:assert/strict";
import fc from "fast-check";
import { BatchBuilder, type BatchFields, type BatchLimits, batchLayout, CONV_BLOCK_SIZE } from "../../src/engine/batch";
import type { Sampling } from "../../src/engine/policy/request";
import { Sequence } from "../../src/engine/policy/sequence";
import { type ScheduledBatch, StepPlan } from "../../src/engine/policy/step-plan";
import { greedy, makeRequest, promptOf } from "../helpers/engine-request";
import { referenceBatch } from "../helpers/reference-batch";

/** A row to be scheduled: `computed` tokens are in the state, `take` go in now, `left` stay for later. */
interface RowSpec {
  readonly computed: number;
  readonly take: number;
  readonly left?: number;
  readonly sampling?: Sampling;
  /** Of the row's tokens; the others were generated. Default: all are of the prompt. */
  readonly promptLength?: number;
}

const limits: BatchLimits = { maxNumSeqs: 16, maxNumBatchedTokens: 2048, chunkSize: 8 };

function schedule(specs: readonly RowSpec[]): ScheduledBatch {
  const plan = new StepPlan(Number.POSITIVE_INFINITY, 1);
  specs.forEach(({ computed, take, left = 0, sampling = greedy, promptLength }, index) => {
    const prompt = promptOf(computed + take + left).map((token) => token + 10_000 * index);
    const sequence = new Sequence(makeRequest({ prompt: prompt.slice(0, promptLength), sampling }), index, 1_000_000);
    sequence.tokens.push(...prompt.slice(promptLength ?? prompt.length));
    sequence.numComputed = computed;
    sequence.slot = specs.length - 1 - index;
    plan.give(sequence, take);
  });
  return plan.toBatch() ?? { rows: [], numPrefills: 0, numTokens: 0, numLogits: 0 };
}

/** Builds a step and cuts every field to its counted length. */
function build(batch: ScheduledBatch, builder = new BatchBuilder(limits), padTo?: number) {
  const counts = builder.build(batch, padTo);
  const take = (field: keyof BatchFields<Int32Array>, length: number) => [...builder.fields[field].subarray(0, length)];
  return {
    counts,
    countedRows: take("countedRows", counts.penalised ? (counts.numPrefills + counts.numDecodes) * 5 : 0),
    penalties: take("penalties", counts.penalised ? counts.numLogits * 4 : 0),
    decodeSlots: take("decodeSlots", counts.numDecodes),
    logitsRows: take("logitsRows", counts.numLogits),
    sampling: take("sampling", counts.numLogits * 8),
    inputIds: take("inputIds", counts.numTokens),
    queryStartLoc: take("queryStartLoc", counts.numPrefills + 1),
    prefillSlots: take("prefillSlots", counts.numPrefills),
    hasInitialState: take("hasInitialState", counts.numPrefills),
    lastChunk: take("lastChunk", counts.numPrefills),
    blockSeq: take("blockSeq", counts.numBlocks),
    blockOffset: take("blockOffset", counts.numBlocks),
    cuChunkSeqlens: take("cuChunkSeqlens", counts.numChunks + 1),
    chunkSeq: take("chunkSeq", counts.numChunks),
  };
}

test("a row whose token the step before draws names the draw, among rows that know theirs", () => {
  const batch = schedule([
    { computed: 4, take: 1 },
    { computed: 0, take: 2 },
    { computed: 6, take: 1 },
  ]);
  const rows = batch.rows.map((row) => (row.start === 6 ? { ...row, draw: 3 } : row));
  const { inputIds, counts } = build({ ...batch, rows });
  expect(inputIds).toEqual([...rows[0]!.sequence.tokens.slice(0, 2), rows[1]!.sequence.tokens[4], -4]);
  expect(counts.takesDraws).toBe(true);
  expect(build(batch).counts.takesDraws).toBe(false);
});

describe("chunks", () => {
  test.each([
    { computed: [0, 0], take: [10, 3], chunk: 8, cu: [0, 8, 10, 13], seq: [0, 0, 1], last: [1, 2] },
    { computed: [5, 0], take: [10, 3], chunk: 8, cu: [0, 3, 10, 13], seq: [0, 0, 1], last: [1, 2] },
    { computed: [5], take: [2], chunk: 8, cu: [0, 2], seq: [0], last: [0] },
    { computed: [8, 13], take: [8, 20], chunk: 8, cu: [0, 8, 11, 19, 27, 28], seq: [0, 1, 1, 1, 1], last: [0, 4] },
    { computed: [0], take: [1000], chunk: 256, cu: [0, 256, 512, 768, 1000], seq: [0, 0, 0, 0], last: [3] },
    { computed: [100, 300], take: [156, 256], chunk: 256, cu: [0, 156, 368, 412], seq: [0, 1, 1], last: [0, 2] },
  ])("$computed computed, $take now, chunks of $chunk", ({ computed, take, chunk, cu, seq, last }) => {
    const specs = computed.map((each, i) => ({ computed: each, take: take[i]! }));
    const built = build(schedule(specs), new BatchBuilder({ ...limits, chunkSize: chunk }));
    expect([built.cuChunkSeqlens, built.chunkSeq, built.lastChunk]).toEqual([cu, seq, last]);
  });

  // The scheduler makes no empty row, but the kernels take one.
  test("an empty row has no chunk and repeats its predecessor's last one", () => {
    const rows = [1, 0, 4].map((numTokens) => {
      const sequence = new Sequence(makeRequest({ prompt: promptOf(4) }), 0, 10);
      return { sequence, start: 0, numTokens, samples: false, draw: -1 };
    });
    const batch = { rows, numPrefills: 3, numTokens: 5, numLogits: 0 };
    const built = build(batch, new BatchBuilder({ ...limits, chunkSize: 4 }));
    expect([built.cuChunkSeqlens, built.chunkSeq, built.lastChunk]).toEqual([
      [0, 1, 5],
      [0, 2],
      [0, 0, 1],
    ]);
    expect([built.blockSeq, built.blockOffset]).toEqual([
      [0, 2],
      [0, 0],
    ]);
  });
});

test("conv blocks count the tokens of this step, not of the sequence", () => {
  const take = [8, 72, 16, 136, 32];
  const built = build(schedule(take.map((each) => ({ computed: 40, take: each }))));
  expect(built.blockSeq).toEqual([0, 1, 1, 2, 3, 3, 3, 4]);
  expect(built.blockOffset).toEqual([0, 0, 1, 0, 0, 1, 2, 0]);
  expect(CONV_BLOCK_SIZE).toBe(64);
});

test("prefills come first; one token on top of a state is a decode, a first one is a prefill", () => {
  const specs = [
    { computed: 4, take: 1 }, // decode
    { computed: 0, take: 3 }, // whole prompt
    { computed: 4, take: 1, left: 2 }, // one token of a prompt: nothing to draw
    { computed: 0, take: 1 }, // prompt of one token
    { computed: 2, take: 2, left: 1 }, // chunk of a prompt: nothing to draw
  ];
  const built = build(schedule(specs));
  expect(built.counts).toMatchObject({
    numPrefills: 3,
    numPrefillTokens: 6,
    numDecodes: 2,
    numTokens: 8,
    numLogits: 3,
  });
  expect(built.inputIds).toEqual([11000, 11001, 11002, 31000, 41002, 41003, 1004, 21004]);
  expect(built.queryStartLoc).toEqual([0, 3, 4, 6]);
  expect(built.prefillSlots).toEqual([3, 1, 0]);
  expect(built.hasInitialState).toEqual([0, 0, 1]);
  expect(built.decodeSlots).toEqual([4, 2]);
  expect(built.logitsRows).toEqual([2, 3, 6]);
});

test("a sampling row is the eight words of SamplingRow", () => {
  const sampling = { temperature: 0.7, topK: 40, topP: 0.95, minP: 0.05, seed: 0xffff_fffe_8000_0001n };
  const builder = new BatchBuilder(limits);
  build(
    schedule([
      { computed: 0, take: 5, left: 1 },
      { computed: 9, take: 1, sampling },
    ]),
    builder,
  );
  const { buffer, byteOffset } = builder.fields.sampling;
  const row = new DataView(buffer, byteOffset, 32);
  expect([0, 8, 12].map((at) => row.getFloat32(at, true))).toEqual([0.7, 0.95, 0.05].map(Math.fround));
  expect([4, 24, 28].map((at) => row.getInt32(at, true))).toEqual([40, 10, 0]);
  expect([16, 20].map((at) => row.getUint32(at, true))).toEqual([0x8000_0001, 0xffff_fffe]);
});

describe("padding to the size of a graph", () => {
  test("adds rows without a slot and draws to be ignored", () => {
    const builder = new BatchBuilder(limits);
    builder.words.fill(77); // left by an earlier step
    const built = build(
      schedule([
        { computed: 4, take: 1 },
        { computed: 4, take: 1, left: 1 },
      ]),
      builder,
      4,
    );
    expect(built.counts).toMatchObject({ numTokens: 4, numDecodes: 4, numLogits: 4, numPrefills: 0 });
    expect(built.decodeSlots).toEqual([1, 0, -1, -1]);
    expect(built.inputIds).toEqual([1004, 11004, 0, 0]);
    expect(built.logitsRows).toEqual([0, 0, 0, 0]);
    const topPOne = new Int32Array(Float32Array.of(1).buffer)[0];
    for (const row of [1, 2, 3]) {
      expect(built.sampling.slice(8 * row, 8 * row + 8)).toEqual([0, 0, topPOne, 0, 0, 0, 0, 0]);
    }
  });

  test.each([
    ["a prefill in it", [{ computed: 0, take: 1 }], 4],
    [
      "more rows than the graph",
      [
        { computed: 1, take: 1 },
        { computed: 1, take: 1 },
      ],
      1,
    ],
    ["a graph past maxNumSeqs", [{ computed: 1, take: 1 }], 17],
  ])("refuses a batch with %s", (_, specs, padTo) => {
    const error = expect.objectContaining({ code: "ERR_ARGUMENT" });
    expect(() => new BatchBuilder(limits).build(schedule(specs), padTo)).toThrow(error);
  });
});

describe("the block", () => {
  test("a decode-only step uploads a prefix that ends with its ids", () => {
    const { layout, counts } = {
      layout: batchLayout(limits),
      counts: build(schedule([{ computed: 4, take: 1 }])).counts,
    };
    expect(counts.endWord).toBe(layout.inputIds.offset + 1);
    for (const field of ["decodeSlots", "logitsRows", "sampling"] as const) {
      expect(layout[field].offset + layout[field].capacity).toBeLessThanOrEqual(layout.inputIds.offset);
    }
    expect(build(schedule([{ computed: 0, take: 1 }])).counts.endWord).toBe(layout.numWords);
  });

  test("a step without penalties uploads nothing for them", () => {
    const layout = batchLayout(limits);
    const countsOf = (sampling: Sampling) => build(schedule([{ computed: 4, take: 1, sampling }])).counts;
    expect(countsOf(greedy)).toMatchObject({ penalised: false, firstWord: layout.decodeSlots.offset });
    for (const field of ["countedRows", "penalties"] as const) {
      expect(layout[field].offset + layout[field].capacity).toBeLessThanOrEqual(layout.decodeSlots.offset);
    }
    const penalties = { repetition: 1, presence: 1, frequency: 0 };
    expect(countsOf({ ...greedy, penalties })).toMatchObject({ penalised: true, firstWord: 0 });
  });

  test("can be the caller's memory", () => {
    const memory = new Int32Array(batchLayout(limits).numWords + 10);
    const builder = new BatchBuilder(limits, memory.subarray(10));
    builder.build(schedule([{ computed: 4, take: 1 }]));
    expect(memory[10 + builder.layout.inputIds.offset]).toBe(1004);
    const error = expect.objectContaining({ code: "ERR_ARGUMENT", subject: "words" });
    expect(() => new BatchBuilder(limits, memory.subarray(11))).toThrow(error);
  });

  test.each([
    ["rows", 17, 1],
    ["inputIds", 2, 1025],
  ])("refuses a step with too many %s", (subject, numRows, take) => {
    const specs = Array.from({ length: numRows }, () => ({ computed: 0, take }));
    const error = expect.objectContaining({ code: "ERR_ARGUMENT", subject });
    expect(() => new BatchBuilder(limits).build(schedule(specs))).toThrow(error);
  });
});

test("equals a token-by-token reference on random batches, and writes nothing else", () => {
  const specs = fc.array(
    fc.record({
      computed: fc.oneof(fc.constant(0), fc.nat(40), fc.nat(600)),
      take: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 200 })),
      left: fc.oneof(fc.constant(0), fc.nat(3)),
      promptLength: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 800 })),
      sampling: fc
        .record({
          temperature: fc.float({ noNaN: true, min: 0, max: 2 }),
          topK: fc.nat(100),
          topP: fc.float({ noNaN: true, min: 0, max: 1 }),
          minP: fc.float({ noNaN: true, min: 0, max: 1 }),
          seed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
          penalties: fc.oneof(
            { weight: 6, arbitrary: fc.constant(undefined) },
            {
              weight: 1,
              arbitrary: fc.record({
                repetition: fc.float({ noNaN: true, min: 0.5, max: 2 }),
                presence: fc.float({ noNaN: true, min: -2, max: 2 }),
                frequency: fc.float({ noNaN: true, min: -2, max: 2 }),
              }),
            },
          ),
        })
        .map(({ penalties, ...sampling }) => (penalties === undefined ? sampling : { ...sampling, penalties })),
    }),
    { minLength: 1, maxLength: 10 },
  );
  const unwritten = 0x5a5a5a5a;
  fc.assert(
    fc.property(specs, fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom(16, 64, 256)), (rows, chunkSize) => {
      // The tightest limits, so that a capacity that is too small loses words and shows.
      const maxNumBatchedTokens = rows.reduce((sum, row) => sum + row.take, 0);
      const builder = new BatchBuilder({ maxNumSeqs: rows.length, maxNumBatchedTokens, chunkSize });
      builder.words.fill(unwritten);
      const batch = schedule(rows);
      const { counts, ...fields } = build(batch, builder);
      const reference = referenceBatch(
        batch.rows.map(({ sequence, start, numTokens }) => ({ sequence, start, numTokens })),
        chunkSize,
        CONV_BLOCK_SIZE,
      );
      assert.deepEqual(fields, reference);

      for (const [name, values] of Object.entries(reference)) {
        const { offset, capacity } = builder.layout[name as keyof typeof reference];
        assert.ok(values.length <= capacity);
        builder.words.fill(unwritten, offset, offset + values.length);
      }
      assert.ok(builder.words.every((word) => word === unwritten));
    }),
    { numRuns: 10_000 },
  );
});
