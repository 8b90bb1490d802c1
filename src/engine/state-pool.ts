import type { LayerState } from "../layers/forward";
import type { LayerStateShape, StateDtypes } from "../models/model";
import type { Device } from "../tensor/device";
import type { Tensor } from "../tensor/tensor";

/** Words of a slot's token counts: rows of a whole number of 128-byte lines. */
const tokenCountWords = (vocabSize: number) => Math.ceil(vocabSize / 32) * 32;

/** Of one slot: 0.2 MB for a vocabulary of 50 thousand, a hundredth of a small model's state. */
export const tokenCountBytes = (vocabSize: number) => tokenCountWords(vocabSize) * 4;

/** i32 [slots, vocab]: what each sequence with penalties has of each token. A slot's content is undefined until count_tokens clears it. */
export function createTokenCounts(device: Device, slots: number, vocabSize: number): Tensor {
  return device.tensor("i32", [slots, tokenCountWords(vocabSize)]).columns(0, [vocabSize]);
}

/** Every layer's states for `slots` sequences. A slot's content is undefined until a first chunk has run on it. */
export function createStatePool(
  device: Device,
  shapes: readonly LayerStateShape[],
  dtypes: StateDtypes,
  slots: number,
): LayerState[] {
  return shapes.map(({ conv, ssm }) => ({
    conv: device.tensor(dtypes.conv, [slots, ...conv]),
    ssm: device.tensor(dtypes.ssm, [slots, ...ssm]),
  }));
}

export function freeStatePool(pool: readonly LayerState[]): void {
  for (const { conv, ssm } of pool) for (const states of [conv, ssm]) states.free();
}
