import type { Range } from "../weights/range";

/** A place among the devices that compute a model together. */
export interface Rank {
  readonly rank: number;
  readonly ranks: number;
  /** Whether a rank has some experts whole (expert parallel), instead of some channels of each. Default false. */
  readonly wholeExperts?: boolean;
}

export const onlyRank: Rank = { rank: 0, ranks: 1 };

/** A rank's heads, and the groups of heads (of keys and values, of B and C) that they need. */
export interface HeadShare {
  readonly heads: Range;
  readonly groups: Range;
  /** False where there are fewer heads than ranks: such a rank computes a head of another's, and adds nothing. */
  readonly contributes: boolean;
}

/**
 * Whole groups where there are as many as ranks. Else each rank is in one group, and the ranks of a group share its heads, so
 * that a group's keys, or B and C, are on several ranks.
 */
export function headShare(heads: number, groups: number, { rank, ranks }: Rank): HeadShare {
  const inGroup = heads / groups;
  if (groups >= ranks) {
    const own = part(groups, rank, ranks);
    return { groups: own, heads: times(own, inGroup), contributes: true };
  }
  const group = Math.floor((rank * groups) / ranks);
  const first = Math.ceil((group * ranks) / groups);
  const sharers = Math.ceil(((group + 1) * ranks) / groups) - first;
  const [begin, end] = part(inGroup, rank - first, sharers);
  const contributes = end > begin;
  const own: Range = [group * inGroup + begin, group * inGroup + (contributes ? end : begin + 1)];
  return { groups: [group, group + 1], heads: own[1] > heads ? [heads - 1, heads] : own, contributes };
}

/** A rank's part of something that is parted at multiples of `unit` only, as all_gather parts columns. */
export function unitShare(size: number, unit: number, { rank, ranks }: Rank): Range {
  const [begin, end] = part(Math.ceil(size / unit), rank, ranks);
  return [Math.min(size, begin * unit), Math.min(size, end * unit)];
}

/** A rank's channels of an MLP: equally many, or nearly, and whole groups of codes (of 128 at most) where that can be. */
export function channelShare(size: number, place: Rank): Range {
  const { ranks } = place;
  const parts = (unit: number) => size % unit === 0 && ((size / unit) % ranks === 0 || size / unit >= 8 * ranks);
  return unitShare(size, [128, 64, 32, 16, 8, 4, 2].find(parts) ?? 1, place);
}

export const length = ([begin, end]: Range): number => end - begin;

/** The same of `width` channels for each, behind `first` others. */
export function times([begin, end]: Range, width: number, first = 0): Range {
  return [first + begin * width, first + end * width];
}

function part(count: number, rank: number, ranks: number): Range {
  return [Math.floor((count * rank) / ranks), Math.floor((count * (rank + 1)) / ranks)];
}
