import { PAGE_SIZE } from "../engine/policy/kv-pages";
import { greedyRequest } from "../engine/policy/request";
import { Sequence } from "../engine/policy/sequence";
import { batchOf, noDrafts, type ScheduledBatch } from "../engine/policy/step-plan";
import { attentionTileTokens } from "../ops/attention-limits";
import { StepBlock } from "../step/block";
import type { AnyField, StepField } from "../step/field";
import { type Chunks, chunks } from "../step/fields/chunks";
import { type ConvBlocks, convBlocks } from "../step/fields/conv-blocks";
import { decodeAttention } from "../step/fields/decode-attention";
import { kvSlots } from "../step/fields/kv-slots";
import { positions } from "../step/fields/positions";
import { prefillAttention } from "../step/fields/prefill-attention";
import { type PrefillRows, prefillRows } from "../step/fields/prefill-rows";
import { Tensor } from "../tensor/tensor";
import type { Inputs } from "./inputs";

/** Packed sequences of a prefill, by name: what kernels are timed with. */
export interface Packing {
  readonly name: string;
  readonly lengths: readonly number[];
}

const equal = (count: number, length: number): Packing => ({
  name: `${count}x${length}`,
  lengths: new Array<number>(count).fill(length),
});

export const packings: readonly Packing[] = [equal(1, 2048), equal(1, 8192), equal(8, 1024), equal(64, 128)];
/** Prefills beside decodes, in one launch. */
export const mixedPacking: Packing = {
  name: "mixed: 3x2048 + 256x1",
  lengths: [...equal(3, 2048).lengths, ...equal(256, 1).lengths],
};
export const longPacking: Packing = equal(1, 131_072);

export const tokensOf = ({ lengths }: Packing): number => lengths.reduce((sum, length) => sum + length, 0);

/** At most eight of the sequences, none longer than `longest` tokens and no two of them equal. */
export function shortened({ lengths }: Packing, longest: number): Packing {
  const some = lengths.length > 8 ? [...lengths.slice(0, 4), ...lengths.slice(-4)] : lengths;
  const short = some.map((length, i) => Math.max(1, Math.min(length, longest) - 3 * i));
  return { name: short.join(" + "), lengths: short };
}

/** What the packed sequences of a prefill are to the ops. */
export type PackedSequences = PrefillRows & ConvBlocks & Chunks;

/** The metadata of a step that continues all sequences, as the engine makes it. Slots are handed out backwards. */
export function packSequences(inputs: Inputs, { lengths }: Packing, chunkSize: number): PackedSequences {
  const rows = lengths.map((numTokens, i) => {
    const sequence = benchSequence(chunkSize + numTokens, i);
    sequence.slot = lengths.length - 1 - i;
    return { sequence, start: chunkSize, numTokens, draws: 0, draw: -1, drafts: noDrafts };
  });
  const chunkField = chunks(chunkSize);
  const views = stepOf(inputs, batchOf(rows, rows.length), [prefillRows, convBlocks, chunkField], 0);
  return { ...views(prefillRows), ...views(convBlocks), ...views(chunkField) };
}

/** What a step of attention is to the ops, and the pages that its sequences hold. */
export interface PagedStep<Context> {
  readonly context: Context & { readonly positions: Tensor; readonly slotMapping: Tensor };
  readonly pages: number;
}

/** The first `numPrefills` sequences begin here, the others decode one token on top of the rest of their length. */
function pagedStep<Context>(
  inputs: Inputs,
  lengths: readonly number[],
  numPrefills: number,
  field: StepField<string, Context>,
): PagedStep<Context> {
  let pages = 0;
  const rows = lengths.map((length, i) => {
    const sequence = benchSequence(length, i);
    for (let held = 0; held < length; held += PAGE_SIZE) sequence.pages.push(pages++);
    const numTokens = i < numPrefills ? length : 1;
    return { sequence, start: length - numTokens, numTokens, draws: 0, draw: -1, drafts: noDrafts };
  });
  const views = stepOf(inputs, batchOf(rows, numPrefills), [positions, kvSlots, field], Math.max(...lengths));
  return { context: { ...views(field), positions: views(positions), slotMapping: views(kvSlots) }, pages };
}

export const pagedPrefill = (inputs: Inputs, lengths: readonly number[], headDim: number) => {
  const { context, pages } = pagedStep(inputs, lengths, lengths.length, prefillAttention(attentionTileTokens(headDim)));
  let end = 0;
  const queryStartLoc = inputs.words([0, ...lengths.map((length) => (end += length))]);
  return { context: { ...context, queryStartLoc }, pages };
};

export const pagedDecode = (inputs: Inputs, lengths: readonly number[], kvHeads: number, headDim: number) =>
  pagedStep(inputs, lengths, 0, decodeAttention({ kvHeads, headDim, window: 0 }));

/** The fields of one step on the device. */
function stepOf(inputs: Inputs, batch: ScheduledBatch, fields: readonly AnyField[], maxModelLen: number) {
  const { rows, numTokens } = batch;
  const maxKvTokens = rows.reduce((sum, row) => sum + row.start + row.numTokens, 0);
  const limits = {
    maxRows: rows.length,
    maxTokens: numTokens,
    maxDraws: 0,
    maxModelLen,
    maxKvTokens,
    rowsAlone: false,
  };
  const block = new StepBlock(fields, limits);
  block.write(batch);
  const views = block.views(inputs.words(block.words));
  return <View>(field: AnyField<View>): View => {
    const view = views.get(field)!;
    for (const part of view instanceof Tensor ? [view] : Object.values(view)) {
      if (part instanceof Tensor) inputs.keep(part);
    }
    return view;
  };
}

/**
 * A sequence of `length` tokens that draws greedily. No two sequences of a step are at the same token, or a mixture of experts
 * would choose the same few for all.
 */
export function benchSequence(length: number, index: number): Sequence {
  const prompt = Array.from({ length }, (_, i) => (i * 37 + index * 101) % 997);
  return new Sequence(greedyRequest(`${index}`, prompt, 1), index, length + 1);
}
