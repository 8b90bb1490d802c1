import * as fc from "fast-check";
import {
  type AttentionSchedule,
  attentionItemCapacity,
  attentionSchedule,
  mostSharedItems,
  type SplitGeometry,
  sharedTokens,
  splitTokens,
} from "../../../src/engine/policy/attention-schedule";

const geometry: SplitGeometry = { kvHeads: 8, headDim: 128, queryLen: 1, window: 0 };

const geometries = fc.record({
  kvHeads: fc.integer({ min: 1, max: 32 }),
  headDim: fc.constantFrom(64, 128, 256),
  queryLen: fc.integer({ min: 1, max: 8 }),
  window: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 5000 })),
});
const lengths = fc.array(fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 0, max: 2 ** 20 })), {
  maxLength: 20,
});

function scheduleOf(kvLens: readonly number[], capacity: number, g: SplitGeometry): AttentionSchedule {
  const schedule = { splitItems: new Int32Array(3 * capacity).fill(-1), splitStart: new Int32Array(kvLens.length + 1) };
  expect(attentionSchedule(kvLens, g, schedule)).toBe(schedule.splitStart.at(-1));
  return schedule;
}

/** The items of a row as [begin, end]. */
function itemsOf({ splitItems, splitStart }: AttentionSchedule, row: number): number[][] {
  const items: number[][] = [];
  for (let i = splitStart[row]!; i < splitStart[row + 1]!; i++) {
    if (splitItems[3 * i] !== row) throw new Error(`item ${i} is of row ${splitItems[3 * i]}, expected ${row}`);
    items.push([splitItems[3 * i + 1]!, splitItems[3 * i + 2]!]);
  }
  return items;
}

function capacityOf(kvLens: readonly number[], g: SplitGeometry): number {
  const total = kvLens.reduce((a, b) => a + b, 0);
  return attentionItemCapacity(kvLens.length, Math.max(0, ...kvLens), total, g);
}

test.each([
  [1, 8, 128],
  [1024, 8, 128],
  [8192, 8, 256],
  [2048, 8, 128],
  [65536, 8, 672],
  [131072, 8, 1344],
  [1048576, 8, 10592],
  [65536, 2, 256],
])("a row of %d tokens and %d KV heads is cut every %d", (kvLen, kvHeads, expected) => {
  expect(splitTokens(kvLen, { ...geometry, kvHeads })).toBe(expected);
});

test("a small batch has an item for each 128 keys of a row", () => {
  expect(scheduleOf([300, 0, 128], 6, geometry)).toEqual({
    splitItems: Int32Array.of(0, 0, 128, 0, 128, 256, 0, 256, 300, 2, 0, 128, -1, -1, -1, -1, -1, -1),
    splitStart: Int32Array.of(0, 3, 3, 4),
  });
});

test("a window's keys only", () => {
  expect(scheduleOf([300], 3, { ...geometry, window: 100, queryLen: 2 })).toEqual({
    splitItems: Int32Array.of(0, 199, 256, 0, 256, 300, -1, -1, -1),
    splitStart: Int32Array.of(0, 2),
  });
});

test("too few items are refused", () => {
  expect(() => scheduleOf([300], 2, geometry)).toThrow(RangeError);
});

test("items cover each row once, and are cut at multiples of its split", () => {
  fc.assert(
    fc.property(lengths, geometries, (kvLens, g) => {
      const schedule = scheduleOf(kvLens, capacityOf(kvLens, g), g);
      kvLens.forEach((kvLen, row) => {
        const items = itemsOf(schedule, row);
        if (kvLen === 0) {
          expect(items).toEqual([]);
          return;
        }
        const first = g.window > 0 ? Math.max(0, kvLen - g.queryLen + 1 - g.window) : 0;
        expect(items.map(([begin]) => begin)).toEqual([first, ...items.slice(0, -1).map(([, end]) => end)]);
        expect(items.at(-1)![1]).toBe(kvLen);
        for (const [, end] of items.slice(0, -1)) expect(end! % splitTokens(kvLen - first, g)).toBe(0);
        expect(items.length).toBeLessThanOrEqual(257);
      });
      expect([...schedule.splitItems.subarray(3 * schedule.splitStart.at(-1)!)].every((x) => x === -1)).toBe(true);
    }),
  );
});

test("a row's items do not depend on the others", () => {
  fc.assert(
    fc.property(lengths, geometries, (kvLens, g) => {
      const schedule = scheduleOf(kvLens, capacityOf(kvLens, g), g);
      kvLens.forEach((kvLen, row) => {
        const alone = scheduleOf([kvLen], capacityOf([kvLen], g), g);
        expect(itemsOf(alone, 0)).toEqual(itemsOf(schedule, row));
      });
    }),
    { numRuns: 30 },
  );
});

// By the best of what was measured: see sharedTokens.
test.each([
  [64, 1024, 8, 128, 1],
  [64, 1024, 2, 128, 1],
  [64, 1024, 4, 256, 1],
  [64, 1024, 32, 224, 1],
  [1, 65536, 8, 128, 16],
  [1, 1024, 8, 128, 16],
  [1, 1025, 8, 128, 17],
  [64, 1025, 8, 128, 1],
  [1, 1024, 32, 224, 4],
  [1, 450, 8, 128, 5], // too few for one more of 64 tokens each
])(
  "%d rows of %d tokens that share a device, %d heads of %d: %d splits of each",
  (rows, kvLen, kvHeads, headDim, splits) => {
    const kvLens = new Array<number>(rows).fill(kvLen);
    const capacity = mostSharedItems(rows, { ...geometry, kvHeads, headDim });
    const schedule = { splitItems: new Int32Array(3 * capacity), splitStart: new Int32Array(rows + 1) };
    expect(attentionSchedule(kvLens, { ...geometry, kvHeads, headDim }, schedule, false)).toBe(rows * splits);
  },
);

test("rows that share a device are covered once, and by no more items than there can be", () => {
  fc.assert(
    fc.property(lengths, geometries, (kvLens, g) => {
      const capacity = mostSharedItems(kvLens.length, g);
      const schedule = { splitItems: new Int32Array(3 * capacity), splitStart: new Int32Array(kvLens.length + 1) };
      const items = attentionSchedule(kvLens, g, schedule, false);
      expect(items).toBeLessThanOrEqual(capacity);
      kvLens.forEach((kvLen, row) => {
        const first = g.window > 0 ? Math.max(0, kvLen - g.queryLen + 1 - g.window) : 0;
        const own = itemsOf(schedule, row);
        if (kvLen === 0) expect(own).toEqual([]);
        else expect(own.map(([begin]) => begin)).toEqual([first, ...own.slice(0, -1).map(([, end]) => end)]);
        if (kvLen > 0) expect(own.at(-1)![1]).toBe(kvLen);
        for (const [, end] of own.slice(0, -1)) expect(end! % 32).toBe(0);
        expect(own.length).toBeLessThanOrEqual(257);
      });
    }),
  );
});

test("there can be no fewer items of more rows", () => {
  for (let rows = 1; rows < 300; rows++) {
    expect(mostSharedItems(rows + 1, geometry)).toBeGreaterThanOrEqual(mostSharedItems(rows, geometry));
  }
  expect(sharedTokens(8192, 1, geometry)).toBeLessThanOrEqual(8192);
});
