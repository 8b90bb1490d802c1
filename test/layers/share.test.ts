import fc from "fast-check";
import { channelShare, headShare, length, unitShare } from "../../src/layers/share";
import type { Range } from "../../src/weights/range";

const ofAll = <T>(ranks: number, share: (rank: number) => T): T[] =>
  Array.from({ length: ranks }, (_, rank) => share(rank));

/** Whether the ranges lie one behind the other, from 0 to `end`. */
function covers(ranges: readonly Range[], end: number): boolean {
  const ends = ranges.map(([, to]) => to);
  return ranges.every(([from], i) => from === (ends[i - 1] ?? 0)) && ends.at(-1) === end;
}

const places = fc.integer({ min: 1, max: 16 });

test("every head counts on one rank, whose groups are those that its heads need", () => {
  fc.assert(
    fc.property(places, fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), (ranks, groups, inGroup) => {
      const heads = groups * inGroup;
      const shares = ofAll(ranks, (rank) => headShare(heads, groups, { rank, ranks }));
      const counted = shares.filter(({ contributes }) => contributes);
      expect(
        covers(
          counted.map((share) => share.heads),
          heads,
        ),
      ).toBe(true);
      for (const { heads: own, groups: needed } of shares) {
        expect(length(own)).toBeGreaterThan(0);
        expect([Math.floor(own[0] / inGroup), Math.ceil(own[1] / inGroup)]).toEqual(needed);
        // All of a rank's groups have as many heads there.
        expect(length(own) % length(needed)).toBe(0);
      }
      expect(shares.every(({ contributes }) => contributes)).toBe(groups >= ranks || counted.length === ranks);
    }),
  );
});

test("the groups are parted evenly where they can be, else the heads of each", () => {
  const headsOf = (heads: number, groups: number, ranks: number) =>
    ofAll(ranks, (rank) => headShare(heads, groups, { rank, ranks })).map((share) => length(share.heads));
  expect(headsOf(128, 8, 4)).toEqual([32, 32, 32, 32]);
  expect(headsOf(128, 8, 3)).toEqual([32, 48, 48]);
  expect(headsOf(32, 1, 4)).toEqual([8, 8, 8, 8]);
  expect(headsOf(32, 2, 3)).toEqual([8, 8, 16]);
});

test("channels are parted at multiples of 128 where that is even, and never far from even", () => {
  const sharesOf = (size: number, ranks: number) => ofAll(ranks, (rank) => channelShare(size, { rank, ranks }));
  expect(sharesOf(1024, 2)).toEqual([
    [0, 512],
    [512, 1024],
  ]);
  fc.assert(
    fc.property(places, fc.integer({ min: 16, max: 20_000 }), (ranks, size) => {
      const shares = sharesOf(size, ranks);
      expect(covers(shares, size)).toBe(true);
      const most = Math.max(...shares.map(length));
      expect(most).toBeLessThanOrEqual(Math.ceil((1.125 * size) / ranks) + 1);
    }),
  );
});

test("units are never parted", () => {
  fc.assert(
    fc.property(places, fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 20 }), (ranks, size, unit) => {
      const shares = ofAll(ranks, (rank) => unitShare(size, unit, { rank, ranks }));
      expect(covers(shares, size)).toBe(true);
      expect(shares.slice(0, -1).every(([, end]) => end % unit === 0 || end === size)).toBe(true);
    }),
  );
});
