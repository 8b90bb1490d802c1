import type { PromptLogprob, TokenLogprob } from "../../llm/types";

/** The parallel arrays of /v1/completions. */
export interface CompletionLogprobs {
  readonly tokens: readonly string[];
  /** Null for the first token of an echoed prompt. */
  readonly token_logprobs: readonly (number | null)[];
  /** Null when no alternatives were asked for (logprobs: 0), and for the first token of an echoed prompt. */
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[] | null;
  /** Where each token begins in the choice's text, in Unicode characters. */
  readonly text_offset: readonly number[];
}

interface ChatTokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[];
}

/** The list of objects of /v1/chat/completions. */
export interface ChatLogprobs {
  readonly content: readonly (ChatTokenLogprob & { readonly top_logprobs: readonly ChatTokenLogprob[] })[];
  readonly refusal: null;
}

/**
 * A token's text. One that is a part of a character reads "bytes:\\xe6\\x97", as OpenAI writes it: U+FFFD would stand for any
 * bytes, and the text could not be put together again.
 */
function toText({ token, bytes }: Pick<TokenLogprob, "token" | "bytes">): string {
  if (!token.includes("\ufffd") || Buffer.from(token).equals(Uint8Array.from(bytes))) return token;
  return `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
}

/** Text -> logprob; where two tokens show the same text, the likelier one stays. The drawn token is always in it. */
function toTopLogprobs(token: PromptLogprob): Readonly<Record<string, number>> | null {
  const { logprob } = token;
  if (logprob === null) return null;
  const likeliestLast = [{ ...token, logprob }, ...token.top.toReversed()];
  // fromEntries and not assignment: a token may read "__proto__".
  return Object.fromEntries(likeliestLast.map((one) => [toText(one), one.logprob]));
}

export function toCompletionLogprobs(tokens: readonly PromptLogprob[], alternatives: number): CompletionLogprobs {
  return {
    tokens: tokens.map(toText),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: alternatives === 0 ? null : tokens.map(toTopLogprobs),
    text_offset: tokens.map(({ textOffset }) => textOffset),
  };
}

const toChatToken = ({ token, logprob, bytes }: TokenLogprob["top"][number]): ChatTokenLogprob => ({
  token,
  logprob,
  bytes,
});

export function toChatLogprobs(tokens: readonly TokenLogprob[]): ChatLogprobs {
  const content = tokens.map((token) => ({ ...toChatToken(token), top_logprobs: token.top.map(toChatToken) }));
  return { content, refusal: null };
}

/** vLLM's `prompt_logprobs`: for each token but the first, what was likely there, by token id. */
export type PromptLogprobsBody = readonly (Readonly<
  Record<string, { readonly logprob: number; readonly rank: number; readonly decoded_token: string }>
> | null)[];

export function toPromptLogprobs(tokens: readonly PromptLogprob[]): PromptLogprobsBody {
  return tokens.map(({ id, token, logprob, rank, top }) => {
    if (logprob === null) return null;
    const likely = top.map((other, i) => [
      other.id,
      { logprob: other.logprob, rank: i + 1, decoded_token: other.token },
    ]);
    return Object.fromEntries([[id, { logprob, rank, decoded_token: token }], ...likely]);
  });
}
