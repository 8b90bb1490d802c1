import { greedyRequest } from "../engine/policy/request";
import { Sequence } from "../engine/policy/sequence";
import { batchOf, noDrafts } from "../engine/policy/step-plan";
import { StepBlock } from "../step/block";
import { type Chunks, chunks } from "../step/fields/chunks";
import { type ConvBlocks, convBlocks } from "../step/fields/conv-blocks";
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
  const batch = batchOf(rows, rows.length);
  const chunkField = chunks(chunkSize);
  const limits = { maxRows: rows.length, maxTokens: batch.numTokens, maxDraws: 0, maxModelLen: 0, maxKvTokens: 0 };
  const block = new StepBlock([prefillRows, convBlocks, chunkField], limits);
  block.write(batch);
  const views = block.views(inputs.words(block.words));
  const packed = { ...views.get(prefillRows)!, ...views.get(convBlocks)!, ...views.get(chunkField)! };
  for (const field of Object.values(packed)) if (field instanceof Tensor) inputs.keep(field);
  return packed;
}

/**
 * A sequence of `length` tokens that draws greedily. No two sequences of a step are at the same token, or a mixture of experts
 * would choose the same few for all.
 */
export function benchSequence(length: number, index: number): Sequence {
  const prompt = Array.from({ length }, (_, i) => (i * 37 + index * 101) % 997);
  return new Sequence(greedyRequest(`${index}`, prompt, 1), index, length + 1);
}
