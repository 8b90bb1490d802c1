import type { EngineToken, TokenLogprobs } from "../engine/policy/request";
import { Detokenizer } from "../tokenizer/detokenizer";
import type { Tokenizer } from "../tokenizer/tokenizer";
import type { PromptLogprob, TokenLogprob } from "./types";

/** Unicode characters of a text. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** Log probabilities of an engine's tokens with what people read of each: its text, its bytes, its place in the text. */
export class TokenDescriber {
  /** @param tokenizer null: tokens have no text */
  constructor(private readonly tokenizer: Tokenizer | null) {}

  /** @param textOffset see TokenLogprob; null without log probabilities */
  token({ id, logprobs }: Pick<EngineToken, "id" | "logprobs">, textOffset: number): TokenLogprob | null {
    if (logprobs === null) return null;
    const { logprob, rank, top } = logprobs;
    return {
      ...this.shown(id),
      logprob,
      rank,
      top: top.map((other) => ({ ...this.shown(other.id), logprob: other.logprob })),
      textOffset,
    };
  }

  /**
   * @param text what the prompt was tokenized from; null: its tokens are all there is, and their text is what they make
   * @param scores of all tokens but the first
   */
  prompt(ids: readonly number[], text: string | null, scores: readonly TokenLogprobs[]): PromptLogprob[] {
    const offsets = this.offsets(ids, text);
    return ids.map((id, i) => {
      const textOffset = offsets[i]!;
      if (i === 0) return { ...this.shown(id), logprob: null, rank: null, top: [], textOffset };
      return this.token({ id, logprobs: scores[i - 1]! }, textOffset)!;
    });
  }

  /** What a tokenizer adds (BOS) or marks (a space at the start) has no place of its own in a text that was written. */
  private offsets(ids: readonly number[], text: string | null): number[] {
    const { tokenizer } = this;
    if (tokenizer === null) return ids.map(() => 0);
    const stream = new Detokenizer(tokenizer, { skipSpecialTokens: text !== null });
    let at = 0;
    let count = 0;
    return ids.map((id) => {
      const start = count;
      let piece = stream.push(id);
      if (text === null) {
        count += characters(piece);
        return start;
      }
      if (tokenizer.specialIds.has(id)) piece = written(text, at, tokenizer.token(id) ?? "");
      // The mark of a word's beginning, where the text has no space.
      if (piece.startsWith(" ") && text[at] !== " ") piece = piece.slice(1);
      // A normalizer may have changed the text: no place is outside of it.
      const next = text.slice(at, at + piece.length);
      at += next.length;
      count += characters(next);
      return start;
    });
  }

  private shown(id: number): Pick<TokenLogprob, "id" | "token" | "bytes"> {
    const bytes = this.tokenizer?.tokenBytes(id) ?? new Uint8Array();
    return { id, token: Buffer.from(bytes).toString("utf8"), bytes: [...bytes] };
  }
}

/** A special token that is written out in the text; "" for one that the tokenizer put there. */
const written = (text: string, at: number, token: string) => (text.startsWith(token, at) ? token : "");
