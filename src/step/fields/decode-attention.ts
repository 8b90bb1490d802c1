import {
  attentionItemCapacity,
  attentionSchedule,
  mostSharedItems,
  type SplitGeometry,
} from "../../engine/policy/attention-schedule";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";
import { type KvContext, kvContextArrays, roundedUp, viewKvContext, writeKvContext } from "./block-table";

/** What paged_attention needs of the decode rows. */
export interface DecodeAttention extends KvContext {
  /** i32 [items, 3]: row (-1 = no item), first position, position after the last. */
  readonly splitItems: Tensor;
  /** i32 [rows + 1]: where each row's items begin. */
  readonly splitStart: Tensor;
  /** Whether rows share a device, so that fewer of them may have more items. */
  readonly shared: boolean;
}

/** Items of `rows` decode rows at most where rows share a device, rounded up as those of a step are. */
export const mostItems = (rows: number, geometry: SplitGeometry): number => roundedUp(mostSharedItems(rows, geometry));

/** Keys of decode rows in items for layers of `kvHeads`; as many items as there are, rounded up so that graphs are few. */
export function decodeAttention(
  geometry: Omit<SplitGeometry, "queryLen">,
): StepField<Exclude<keyof DecodeAttention, "shared">, DecodeAttention> {
  const { kvHeads, headDim, window } = geometry;
  return {
    id: `decode attention of ${kvHeads} KV heads of ${headDim}, window ${window}`,
    phase: "step",
    arrays: (limits) => {
      const { maxRows, maxModelLen, maxKvTokens, rowsAlone } = limits;
      const items = rowsAlone
        ? attentionItemCapacity(maxRows, maxModelLen, maxKvTokens, { ...geometry, queryLen: 1 })
        : mostSharedItems(maxRows, { ...geometry, queryLen: 1 });
      return {
        ...kvContextArrays(limits),
        splitItems: 3 * roundedUp(Math.max(items, maxRows)),
        splitStart: maxRows + 1,
      };
    },
    writer:
      ({ blockTable, kvLens, splitItems, splitStart }, { rowsAlone }) =>
      ({ rows, numPrefills }) => {
        if (rows.length === numPrefills) return null;
        const context = writeKvContext(rows, numPrefills, rows.length, { blockTable, kvLens });
        const own = { ...geometry, queryLen: rows[numPrefills]!.numTokens };
        const lens = kvLens.subarray(0, context.kvLens);
        const items = attentionSchedule(lens, own, { splitItems, splitStart }, rowsAlone);
        const capacity = roundedUp(Math.max(lens.length, items));
        splitItems.fill(-1, 3 * items, 3 * capacity);
        return { ...context, splitItems: 3 * capacity, splitStart: lens.length + 1 };
      },
    view: ({ splitItems, splitStart, ...context }, { rowsAlone }) => ({
      ...viewKvContext(context),
      splitItems: splitItems.view({ shape: [splitItems.size(0) / 3, 3] }),
      splitStart,
      shared: !rowsAlone,
    }),
  };
}
