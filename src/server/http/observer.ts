import type { FinishReason } from "../../engine/policy/request";
import type { GenerateParams, Generation } from "../../llm/types";

/** Is told what becomes of the generations of a request. */
export interface GenerationObserver {
  /** Call once, before they start: so many choices of each prompt. */
  requested(choices: number, params: GenerateParams): void;
  /** Call when one starts. */
  generation(): GenerationMeter;
}

/** Follows one generation, of which a request with `n` has several. */
export interface GenerationMeter {
  /** Tokens came, or the scores of a prompt that is not continued, which are none. */
  received(count: number, generation: Pick<Generation, "promptTokens" | "cachedTokens" | "queuedMs">): void;
  /** Call once, at the end. */
  ended(reason: FinishReason | "error"): void;
}

/** Tells both. */
export function bothOf(a: GenerationObserver, b: GenerationObserver): GenerationObserver {
  return {
    requested: (choices, params) => {
      a.requested(choices, params);
      b.requested(choices, params);
    },
    generation: () => {
      const [first, second] = [a.generation(), b.generation()];
      return {
        received: (count, generation) => {
          first.received(count, generation);
          second.received(count, generation);
        },
        ended: (reason) => {
          first.ended(reason);
          second.ended(reason);
        },
      };
    },
  };
}
