import { BatchBuilder } from "../engine/batch";
import { sliceBatch } from "../engine/batch-tensors";
import { greedyRequest } from "../engine/policy/request";
import { Sequence } from "../engine/policy/sequence";
import type { BatchTensors } from "../layers/forward";
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

/** The metadata of a step that continues all sequences, as the engine makes it. Slots are handed out backwards. */
export function packSequences(
  inputs: Inputs,
  { lengths }: Packing,
  chunkSize: number,
): NonNullable<BatchTensors["prefill"]> {
  const numTokens = lengths.reduce((sum, length) => sum + length, 0);
  const builder = new BatchBuilder({ maxNumSeqs: lengths.length, maxNumBatchedTokens: numTokens, chunkSize });
  const rows = lengths.map((length, i) => {
    const sequence = benchSequence(chunkSize + length, i);
    sequence.slot = lengths.length - 1 - i;
    return { sequence, start: chunkSize, numTokens: length, samples: false, draw: -1 };
  });
  const counts = builder.build({ rows, numPrefills: rows.length, numTokens, numLogits: 0 });
  const batch = sliceBatch(inputs.words(builder.words), builder.layout, counts);
  inputs.keep(batch.inputIds);
  const prefill = batch.prefill!;
  for (const field of Object.values(prefill)) if (field instanceof Tensor) inputs.keep(field);
  return prefill;
}

/** A sequence of `length` tokens that draws greedily. */
export function benchSequence(length: number, index: number): Sequence {
  const prompt = Array.from({ length }, (_, i) => (i * 37) % 1000);
  return new Sequence(greedyRequest(`${index}`, prompt, 1), index, length + 1);
}
