import { PAGE_SIZE } from "../../engine/policy/kv-pages";
import type { ScheduledRow } from "../../engine/policy/step-plan";
import type { Tensor } from "../../tensor/tensor";
import type { StepLimits } from "../field";

/** What queries attend to. */
export interface KvContext {
  /** i32 [rows, pages]: the pages of each row's sequence; -1 after its last. */
  readonly blockTable: Tensor;
  /** i32 [rows]: tokens in the pages, those of this step included; 0 for padding. */
  readonly kvLens: Tensor;
}

/** The next power of two: sizes that a graph depends on change seldom. */
export const roundedUp = (size: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, size)));

/** Words that a table and its lengths take at most. */
export function kvContextArrays({ maxRows, maxModelLen }: StepLimits): { blockTable: number; kvLens: number } {
  return { blockTable: maxRows * roundedUp(Math.ceil(maxModelLen / PAGE_SIZE)), kvLens: maxRows };
}

/** Writes rows [begin, end). The table is as wide as the longest row needs, rounded up. */
export function writeKvContext(
  rows: readonly ScheduledRow[],
  begin: number,
  end: number,
  { blockTable, kvLens }: { blockTable: Int32Array; kvLens: Int32Array },
): { blockTable: number; kvLens: number } {
  let longest = 0;
  for (let i = begin; i < end; i++) {
    const { sequence, start, numTokens } = rows[i]!;
    const kvLen = sequence.pages.length === 0 ? 0 : start + numTokens;
    kvLens[i - begin] = kvLen;
    longest = Math.max(longest, kvLen);
  }
  const width = roundedUp(Math.ceil(longest / PAGE_SIZE));
  blockTable.fill(-1, 0, (end - begin) * width); // at once: a call for each row would take as long as its pages
  for (let i = begin; i < end; i++) {
    const { words } = rows[i]!.sequence.pages;
    blockTable.set(words.length > width ? words.subarray(0, width) : words, (i - begin) * width);
  }
  return { blockTable: (end - begin) * width, kvLens: end - begin };
}

export function viewKvContext({ blockTable, kvLens }: { blockTable: Tensor; kvLens: Tensor }): KvContext {
  const rows = kvLens.size(0);
  return { blockTable: blockTable.view({ shape: [rows, blockTable.size(0) / rows] }), kvLens };
}
