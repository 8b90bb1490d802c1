import type { StepViews } from "../../step/block";
import type { Arena } from "../../tensor/arena";
import type { Stream } from "../../tensor/stream";
import type { Tensor } from "../../tensor/tensor";
import type { ScheduledBatch, ScheduledRow } from "../policy/step-plan";
import type { PromptScores } from "./prompt-scores";

/** Log probabilities [draws, columns], the drawn token's first. */
export interface DrawnLogprobs {
  readonly values: Float32Array;
  readonly ids: Int32Array;
  readonly columns: number;
}

/** One step between its hidden states and its results, as the stages see it. */
export interface Draw {
  readonly stream: Stream;
  readonly arena: Arena;
  readonly batch: ScheduledBatch;
  readonly views: StepViews;
  /** [tokens, hidden]; null where a graph has computed the logits. */
  hidden: Tensor | null;
  /** f32 [draws, vocab], to be changed in place, and i32 [draws], the drawn tokens. */
  readonly logits: Tensor;
  readonly tokens: Tensor;
  /** Whether a stage changes the logits. */
  readonly changed: boolean;
  /** Downloads that the step's results wait for. */
  readonly pending: Promise<void>[];
  /** Results besides the tokens: they are there once `pending` has settled. */
  logprobs: DrawnLogprobs | null;
  prompts: readonly PromptScores[];
}

/** The memory of the largest step. */
export interface DrawLimits {
  readonly maxDraws: number;
  readonly vocabSize: number;
}

/** Something that a row may ask for besides a token. A step in which no row wants it neither runs nor pays for it. */
export interface DrawStage {
  /** Where it runs: on the hidden states, on the logits, which it changes, or on the drawn tokens. */
  readonly at: "hidden" | "logits" | "tokens";
  wants(row: ScheduledRow): boolean;
  /** Takes from the arena what it needs in the largest step. */
  reserve(arena: Arena, limits: DrawLimits): void;
  /** Before any stage has changed the logits. */
  prepare?(draw: Draw): void;
  launch(draw: Draw): void;
  /** Gives up what it keeps between steps. */
  free?(): void;
}

/** Uploads words to a tensor of the step. */
export function uploaded(
  { stream, arena }: Pick<Draw, "stream" | "arena">,
  words: Int32Array | Float32Array,
  shape: readonly number[] = [words.length],
): Tensor {
  const tensor = arena.tensor(words instanceof Float32Array ? "f32" : "i32", shape);
  stream.upload(tensor, words);
  return tensor;
}
