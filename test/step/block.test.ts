import assert from "node:assert/strict";
import fc from "fast-check";
import { padDecodes } from "../../src/engine/policy/padding";
import type { Sampling } from "../../src/engine/policy/request";
import { Sequence } from "../../src/engine/policy/sequence";
import { batchOf, noDrafts, type ScheduledBatch, type ScheduledRow, StepPlan } from "../../src/engine/policy/step-plan";
import { CONV_BLOCK_SIZE } from "../../src/step/fields/conv-blocks";
import { tokenIds } from "../../src/step/fields/token-ids";
import { greedy, makeRequest, promptOf } from "../helpers/engine-request";
import { referenceBatch } from "../helpers/reference-batch";
import { MambaBlock, type WrittenStep, writtenBy } from "../helpers/step-fields";

/** A row to be scheduled: `computed` tokens are in the state, `take` go in now, `left` stay for later. */
interface RowSpec {
  readonly computed: number;
  readonly take: number;
  readonly left?: number;
  readonly sampling?: Sampling;
  /** How many of the row's tokens are of the prompt; the others were generated. Default: all are of the prompt. */
  readonly promptLength?: number;
}

const limits = { maxRows: 16, maxTokens: 2048, maxDraws: 16 };
const mambaBlock = (chunkSize = 8, words?: Int32Array) => new MambaBlock(limits, chunkSize, words);

function schedule(specs: readonly RowSpec[]): ScheduledBatch {
  const plan = new StepPlan({ maxNumBatchedTokens: Number.POSITIVE_INFINITY, chunkSize: 1 });
  specs.forEach(({ computed, take, left = 0, sampling = greedy, promptLength }, index) => {
    const isDecode = computed > 0 && take === 1 && left === 0;
    const prompt = promptOf(computed + take + left).map((token) => token + 10_000 * index);
    const sequence = new Sequence(makeRequest({ prompt: prompt.slice(0, promptLength), sampling }), index, 1_000_000);
    sequence.tokens.push(...prompt.slice(promptLength ?? prompt.length));
    sequence.numComputed = computed;
    if (isDecode) sequence.numToPrefill = computed;
    sequence.slot = specs.length - 1 - index;
    if (sequence.isPrefill) plan.givePrefill(sequence, take);
    else plan.giveDecode(sequence);
  });
  return plan.toBatch() ?? batchOf([], 0);
}

/** The row as it goes on from slot 99, if from any, and with a snapshot at each multiple of the chunk. */
function leaving(row: ScheduledRow, chunkSize: number): ScheduledRow {
  const first = Math.floor(row.start / chunkSize) + 1;
  const count = Math.floor((row.start + row.numTokens) / chunkSize) - first + 1;
  const snapshots = Array.from({ length: count }, (_, i) => ({ position: (first + i) * chunkSize, slot: 100 + i }));
  return {
    ...row,
    restoredFrom: row.start > 0 ? 99 : -1,
    snapshots: snapshots.map((snapshot) => ({ ...snapshot, isGuess: false })),
  };
}

function build(batch: ScheduledBatch, block = mambaBlock()): WrittenStep {
  block.write(batch);
  return block.step();
}

test("a row whose token the step before draws names the draw, among rows that know theirs", () => {
  const batch = schedule([
    { computed: 4, take: 1 },
    { computed: 0, take: 2 },
    { computed: 6, take: 1 },
  ]);
  const rows = batch.rows.map((row) => (row.start === 6 ? { ...row, draw: 3 } : row));
  const { inputIds } = build({ ...batch, rows });
  expect(inputIds).toEqual([...rows[0]!.sequence.tokens.slice(0, 2), rows[1]!.sequence.tokens[4], -4]);
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
    const built = build(schedule(specs), mambaBlock(chunk));
    expect([built.cuChunkSeqlens, built.chunkSeq, built.lastChunk]).toEqual([cu, seq, last]);
  });

  // The scheduler makes no empty row, but the kernels take one.
  test("an empty row has no chunk and repeats its predecessor's last one", () => {
    const rows = [1, 0, 4].map((numTokens) => {
      const sequence = new Sequence(makeRequest({ prompt: promptOf(4) }), 0, 10);
      return { sequence, start: 0, numTokens, draws: 0, draw: -1, drafts: noDrafts };
    });
    const built = build(batchOf(rows, 3), mambaBlock(4));
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

test("prefills come first; a token of a prompt is one wherever it is", () => {
  const specs = [
    { computed: 4, take: 1 }, // decode
    { computed: 0, take: 3 }, // whole prompt
    { computed: 4, take: 1, left: 2 }, // one token of a prompt: nothing to draw
    { computed: 0, take: 1 }, // prompt of one token
    { computed: 2, take: 2, left: 1 }, // chunk of a prompt: nothing to draw
  ];
  const batch = schedule(specs);
  expect(batch).toMatchObject({ numPrefills: 4, numPrefillTokens: 7, numTokens: 8, numDraws: 3 });
  const built = build(batch);
  expect(built.inputIds).toEqual([11000, 11001, 11002, 21004, 31000, 41002, 41003, 1004]);
  expect(built.queryStartLoc).toEqual([0, 3, 4, 5, 7]);
  expect(built.prefillSlots).toEqual([3, 2, 1, 0]);
  expect(built.hasInitialState).toEqual([0, 1, 0, 1]);
  expect(built.decodeSlots).toEqual([4]);
  expect(built.drawRows).toEqual([2, 4, 7]);
});

test("a sampling row is the eight words of SamplingRow", () => {
  const sampling = { temperature: 0.7, topK: 40, topP: 0.95, minP: 0.05, seed: 0xffff_fffe_8000_0001n };
  const block = mambaBlock();
  build(
    schedule([
      { computed: 0, take: 5, left: 1 },
      { computed: 9, take: 1, sampling },
    ]),
    block,
  );
  const { buffer, byteOffset } = block.array("sampling");
  const row = new DataView(buffer, byteOffset, 32);
  expect([0, 8, 12].map((at) => row.getFloat32(at, true))).toEqual([0.7, 0.95, 0.05].map(Math.fround));
  expect([4, 24, 28].map((at) => row.getInt32(at, true))).toEqual([40, 10, 0]);
  expect([16, 20].map((at) => row.getUint32(at, true))).toEqual([0x8000_0001, 0xffff_fffe]);
});

test("a row that draws several tokens ends with its drafts, and draws after each of them", () => {
  const [known, drafting] = schedule([
    { computed: 3, take: 1 },
    { computed: 6, take: 1 },
  ]).rows;
  const rows = [known!, { ...drafting!, numTokens: 3, draws: 3, drafts: [5, 6] }];
  const built = build(batchOf(rows, 0));
  expect(built.inputIds).toEqual([1003, 11006, 5, 6]);
  expect(built.drawRows).toEqual([0, 1, 2, 3]);
  const positions = Array.from({ length: 4 }, (_, draw) => built.sampling[8 * draw + 6]);
  expect(positions).toEqual([4, 7, 8, 9]);
});

describe("padding to the size of a graph", () => {
  test("adds rows without a slot and draws to be ignored", () => {
    const block = mambaBlock();
    block.words.fill(77); // left by an earlier step
    const decodes = schedule([
      { computed: 4, take: 1 },
      { computed: 4, take: 1 },
    ]);
    const built = build(padDecodes(decodes, 4), block);
    expect(built.decodeSlots).toEqual([1, 0, -1, -1]);
    expect(built.inputIds).toEqual([1004, 11004, 0, 0]);
    expect(built.drawRows).toEqual([0, 1, 0, 0]);
    const topPOne = new Int32Array(Float32Array.of(1).buffer)[0];
    for (const row of [2, 3]) {
      expect(built.sampling.slice(8 * row, 8 * row + 8)).toEqual([0, 0, topPOne, 0, 0, 0, 0, 0]);
    }
  });

  test("leaves a full step as it is, and gives rows of several tokens as many draws", () => {
    const full = schedule([{ computed: 4, take: 1 }]);
    expect(padDecodes(full, 1)).toMatchObject({ rows: full.rows, numTokens: 1, numDraws: 1 });
    expect(padDecodes(batchOf([], 0), 2, 3)).toMatchObject({ numTokens: 6, numDraws: 6 });
  });
});

describe("the block", () => {
  test("a decode-only step uploads no more than ends with its ids", () => {
    const block = mambaBlock();
    build(schedule([{ computed: 4, take: 1 }]), block);
    const { begin, end } = block.range();
    const ids = block.array("inputIds");
    expect(end).toBe((ids.byteOffset - block.words.byteOffset) / 4 + 1);
    for (const name of ["decodeSlots", "drawRows", "sampling"] as const) {
      const at = (block.array(name).byteOffset - block.words.byteOffset) / 4;
      expect(begin <= at && at < end).toBe(true);
    }
  });

  test("a step with a prefill uploads up to the last word that it wrote", () => {
    const block = mambaBlock();
    build(schedule([{ computed: 0, take: 100 }]), block);
    const last = Math.max(
      ...Object.keys(block.step()).map((name) => {
        const array = block.array(name as keyof WrittenStep);
        return array.length === 0 ? 0 : (array.byteOffset - block.words.byteOffset) / 4 + array.length;
      }),
    );
    expect(block.range().end).toBe(last);
  });

  test("a step without penalties uploads nothing for them", () => {
    const block = mambaBlock();
    const penalties = { repetition: 1, presence: 1, frequency: 0 };
    build(schedule([{ computed: 4, take: 1, sampling: { ...greedy, penalties } }]), block);
    expect(block.range().begin).toBe(0);
    const penaltyEnd = (block.array("penalties").byteOffset - block.words.byteOffset) / 4 + 4;
    build(schedule([{ computed: 4, take: 1 }]), block);
    expect(block.range().begin).toBeGreaterThanOrEqual(penaltyEnd);
  });

  test("can be the caller's memory", () => {
    const { numWords } = mambaBlock();
    const memory = new Int32Array(numWords + 10);
    const block = mambaBlock(8, memory.subarray(10));
    block.write(schedule([{ computed: 4, take: 1 }]));
    expect(memory.includes(1004)).toBe(true);
    expect(block.array("inputIds")).toEqual(Int32Array.of(1004));
    const error = expect.objectContaining({ code: "ERR_ARGUMENT", subject: "words" });
    expect(() => mambaBlock(8, memory.subarray(11))).toThrow(error);
  });

  test.each([
    ["rows", 17, 1],
    ["tokens", 2, 1025],
  ])("refuses a step with too many %s", (subject, numRows, take) => {
    const specs = Array.from({ length: numRows }, () => ({ computed: 0, take }));
    const error = expect.objectContaining({ code: "ERR_ARGUMENT", subject });
    expect(() => mambaBlock().write(schedule(specs))).toThrow(error);
  });

  test("refuses to show a field that no layer declared", () => {
    const stranger = { ...tokenIds, id: "stranger" };
    expect(() => writtenBy(mambaBlock(), stranger)).toThrow(expect.objectContaining({ code: "ERR_ARGUMENT" }));
  });
});

test("equals a token-by-token reference on random batches, and writes nothing else", () => {
  const specs = fc.array(
    fc.record({
      computed: fc.oneof(fc.constant(0), fc.nat(40), fc.nat(600)),
      take: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 200 })),
      left: fc.oneof(fc.constant(0), fc.nat(3)),
      leaves: fc.boolean(),
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
      const maxTokens = rows.reduce((sum, row) => sum + row.take, 0);
      const block = new MambaBlock({ maxRows: rows.length, maxTokens, maxDraws: rows.length }, chunkSize);
      block.words.fill(unwritten);
      const { rows: plain, numPrefills } = schedule(rows);
      const batch = batchOf(
        plain.map((row, i) => (i < numPrefills && rows[row.sequence.arrival]!.leaves ? leaving(row, chunkSize) : row)),
        numPrefills,
      );
      const fields = build(batch, block);
      const reference = referenceBatch(batch.rows, chunkSize, CONV_BLOCK_SIZE);
      assert.deepEqual(fields, reference);

      for (const name of Object.keys(reference)) block.array(name as keyof WrittenStep).fill(unwritten);
      assert.ok(block.words.every((word) => word === unwritten));
    }),
    { numRuns: 10_000 },
  );
});
