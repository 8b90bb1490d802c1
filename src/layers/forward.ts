import type { Conv1dSequences } from "../ops/conv1d";
import type { SsdSequences } from "../ops/ssd";
import type { Arena } from "../tensor/arena";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/** One step's metadata on the device, shared by all layers. Token rows: those of the prefills first, then one per decode. */
export interface BatchTensors {
  readonly numTokens: number;
  readonly numPrefillTokens: number;
  readonly numDecodes: number;
  /** i32 [numTokens]. */
  readonly inputIds: Tensor;
  /** The packed prefill sequences; null when the step has none. */
  readonly prefill: (Conv1dSequences & SsdSequences) | null;
  /** i32 [numDecodes]; null when the step has none. */
  readonly decodeSlots: Tensor | null;
}

/** The state pool of one layer. */
export interface LayerState {
  /** [slots, width - 1, convDim], compute type. */
  readonly conv: Tensor;
  /** [slots, H, P, N], state type. */
  readonly ssm: Tensor;
}

/** All that a forward pass works with besides the weights. */
export interface Forward {
  readonly stream: Stream;
  readonly arena: Arena;
  readonly batch: BatchTensors;
  readonly state: readonly LayerState[];
}
