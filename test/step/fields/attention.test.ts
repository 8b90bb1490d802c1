import fc from "fast-check";
import { KvPages, PAGE_SIZE } from "../../../src/engine/policy/kv-pages";
import { padDecodes } from "../../../src/engine/policy/padding";
import { Sequence } from "../../../src/engine/policy/sequence";
import { batchOf, noDrafts, type ScheduledRow } from "../../../src/engine/policy/step-plan";
import { StepBlock } from "../../../src/step/block";
import { decodeAttention } from "../../../src/step/fields/decode-attention";
import { kvSlots } from "../../../src/step/fields/kv-slots";
import { positions } from "../../../src/step/fields/positions";
import { prefillAttention } from "../../../src/step/fields/prefill-attention";
import { makeRequest } from "../../helpers/engine-request";
import { writtenBy } from "../../helpers/step-fields";

const tileTokens = 128;
const prefillField = prefillAttention(tileTokens);
const decodeField = decodeAttention({ kvHeads: 2, headDim: 64, window: 0 });
const limits = { maxRows: 8, maxTokens: 2048, maxDraws: 8, maxModelLen: 4096, maxKvTokens: 8 * 4096, rowsAlone: true };
const fields = [positions, kvSlots, prefillField, decodeField];

const pages = new KvPages(1000);

/** Rows in random pages; decodes are those of one token on top of others. */
function rowsOf(sizes: readonly { start: number; numTokens: number }[]): ScheduledRow[] {
  return sizes.map(({ start, numTokens }, i) => {
    const sequence = new Sequence(makeRequest({ prompt: [1] }), i, 5000);
    sequence.slot = i;
    pages.reserve(sequence, start + numTokens);
    return { sequence, start, numTokens, draws: 0, draw: -1, drafts: noDrafts };
  });
}

const release = (rows: readonly ScheduledRow[]) => {
  for (const { sequence } of rows) pages.release(sequence);
};

const sizes = fc.record({ start: fc.oneof(fc.constant(0), fc.nat(1500)), numTokens: fc.integer({ min: 1, max: 250 }) });

test("every token knows its position and its place in its sequence's pages; every key is attended to once", () => {
  fc.assert(
    fc.property(
      fc.array(sizes, { maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 4000 }), { maxLength: 4 }),
      (prefills, decodes) => {
        const rows = rowsOf([...prefills, ...decodes.map((start) => ({ start, numTokens: 1 }))]);
        if (rows.length === 0) return;
        const block = new StepBlock(fields, limits);
        block.words.fill(77);
        block.write(batchOf(rows, prefills.length));
        const tokens = rows.flatMap(({ sequence, start, numTokens }) =>
          Array.from({ length: numTokens }, (_, i) => ({ sequence, position: start + i })),
        );
        expect([...writtenBy(block, positions)!.positions!]).toEqual(tokens.map(({ position }) => position));
        expect([...writtenBy(block, kvSlots)!.slots!]).toEqual(
          tokens.map(
            ({ sequence, position }) =>
              sequence.pages.at(Math.floor(position / PAGE_SIZE)) * PAGE_SIZE + (position % PAGE_SIZE),
          ),
        );
        for (const [field, part] of [
          [prefillField, rows.slice(0, prefills.length)],
          [decodeField, rows.slice(prefills.length)],
        ] as const) {
          const written = writtenBy(block, field);
          expect(written === null).toBe(part.length === 0);
          if (written === null) continue;
          const width = written.blockTable!.length / part.length;
          for (const [i, { sequence, start, numTokens }] of part.entries()) {
            const row = [...written.blockTable!.subarray(i * width, (i + 1) * width)];
            const need = Math.ceil((start + numTokens) / PAGE_SIZE);
            expect(row.slice(0, need)).toEqual(sequence.pages.slice(0, need));
            expect(row.slice(need).every((page) => page === -1)).toBe(true);
            expect(written.kvLens![i]).toBe(start + numTokens);
          }
        }
        const tiles = writtenBy(block, prefillField);
        const covered = new Set(
          tiles === null ? [] : Array.from(tiles.tileSeq!, (row, i) => `${row}:${tiles.tileOffset![i]}`),
        );
        const wanted = rows
          .slice(0, prefills.length)
          .flatMap(({ numTokens }, row) =>
            Array.from({ length: Math.ceil(numTokens / tileTokens) }, (_, i) => `${row}:${i}`),
          );
        expect([...covered].sort()).toEqual(wanted.sort());
        const items = writtenBy(block, decodeField);
        for (const [i, start] of decodes.entries()) {
          const own = Array.from({ length: items!.splitItems!.length / 3 }, (_, n) => [
            ...items!.splitItems!.subarray(3 * n, 3 * n + 3),
          ]).slice(items!.splitStart![i], items!.splitStart![i + 1]);
          expect(own.every(([row]) => row === i)).toBe(true);
          const keys = own.map(([, begin, end]) => end! - begin!).reduce((sum, count) => sum + count, 0);
          expect([own[0]![1], own.at(-1)![2], keys]).toEqual([0, start + 1, start + 1]);
        }
        release(rows);
      },
    ),
    { numRuns: 300 },
  );
});

test("tiles with the most keys come first, whatever row they are of", () => {
  const rows = rowsOf([
    { start: 0, numTokens: 300 },
    { start: 1000, numTokens: 200 },
    { start: 0, numTokens: 100 },
  ]);
  const block = new StepBlock(fields, limits);
  block.write(batchOf(rows, 3));
  const { tileSeq, tileOffset } = writtenBy(block, prefillField)!;
  const tiles = Array.from(tileSeq!, (row, i) => `row ${row}, tile ${tileOffset![i]}`);
  expect(tiles.slice(0, 4)).toEqual(["row 1, tile 1", "row 1, tile 0", "row 0, tile 2", "row 0, tile 1"]);
  expect(tiles.slice(4).sort()).toEqual(["row 0, tile 0", "row 2, tile 0"]);
  release(rows);
});

test("a long row beside short ones has more items of its own where rows share a device", () => {
  const itemsOf = (rowsAlone: boolean) => {
    const rows = rowsOf([3000, 40, 40].map((start) => ({ start, numTokens: 1 })));
    const block = new StepBlock([decodeField], { ...limits, rowsAlone });
    block.words.fill(77);
    block.write(batchOf(rows, 0));
    release(rows);
    const { splitItems, splitStart } = writtenBy(block, decodeField)!;
    const items = Array.from({ length: splitItems!.length / 3 }, (_, i) => [...splitItems!.subarray(3 * i, 3 * i + 3)]);
    expect(items.slice(splitStart!.at(-1)!).every(([row]) => row === -1)).toBe(true);
    return Array.from(splitStart!.subarray(1), (end, row) => end - splitStart![row]!);
  };
  const [alone, shared] = [itemsOf(true), itemsOf(false)];
  expect(alone).toEqual([12, 1, 1]);
  expect(shared[0]).toBeGreaterThan(2 * alone[0]!);
  expect(shared.slice(1)).toEqual([1, 1]);
});

test("padding attends to nothing and is stored nowhere", () => {
  const rows = rowsOf([{ start: 100, numTokens: 1 }]);
  const block = new StepBlock(fields, limits);
  block.write(padDecodes(batchOf(rows, 0), 4));
  expect([...writtenBy(block, decodeField)!.kvLens!]).toEqual([101, 0, 0, 0]);
  expect([...writtenBy(block, kvSlots)!.slots!].slice(1)).toEqual([-1, -1, -1]);
  expect([...writtenBy(block, decodeField)!.splitStart!]).toEqual([0, 1, 1, 1, 1]);
  release(rows);
});

test("the shape of a decode step changes only where a size of its graph does", () => {
  const shapeOf = (start: number) => {
    const rows = rowsOf([{ start, numTokens: 1 }]);
    const block = new StepBlock(fields, limits);
    block.write(batchOf(rows, 0));
    release(rows);
    return block.shape();
  };
  expect(shapeOf(70)).toBe(shapeOf(100));
  expect(new Set(Array.from({ length: 4000 }, (_, start) => shapeOf(start + 1))).size).toBeLessThan(16);
});
