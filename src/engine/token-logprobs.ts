import type { PromptScores } from "./draw/prompt-scores";
import type { DrawnLogprobs } from "./draw/stage";
import type { TokenLogprobs } from "./policy/request";

/** Those of a row, with its `top` most likely tokens, or as many as there are. */
export function readLogprobs({ values, ids, columns }: DrawnLogprobs, row: number, top: number): TokenLogprobs {
  const at = row * columns;
  return {
    logprob: values[at]!,
    rank: ids[at]!,
    top: Array.from({ length: Math.min(top, columns - 1) }, (_, i) => ({
      id: ids[at + 1 + i]!,
      logprob: values[at + 1 + i]!,
    })),
  };
}

/** Log probabilities of prompts that are not complete, by request: they come in pieces, and go with the first token. */
export class PromptLogprobs {
  private readonly kept = new Map<string, TokenLogprobs[]>();

  /** A prompt comes once more from its beginning after a preemption. */
  add({ sequence, first, values, ids, columns }: PromptScores): void {
    const own = this.kept.get(sequence.id) ?? [];
    this.kept.set(sequence.id, own);
    for (let row = own.length + 1 - first; row < values.length / columns; row++) {
      own.push(readLogprobs({ values, ids, columns }, row, columns - 1));
    }
  }

  /** Absent where none were asked for, and once they were taken. */
  take(id: string): readonly TokenLogprobs[] | undefined {
    const own = this.kept.get(id);
    this.kept.delete(id);
    return own;
  }
}
