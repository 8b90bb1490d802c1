import type { PromptLogprob, TokenLogprob } from "../../llm/types";

/** The parallel arrays of /v1/completions. */
export interface CompletionLogprobs {
  readonly tokens: readonly string[];
  /** Null for the first token of an echoed prompt. */
  readonly token_logprobs: readonly (number | null)[];
  /** Null when no alternatives were asked for (logprobs: 0), and for the first token of an echoed prompt. */
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[] | null;
  /** Where each token starts in the choice's text, in Unicode characters. */
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

const characters = (text: string) => [...text].length;

/** Text -> logprob; where two tokens show the same text, the likelier one stays. The drawn token is always in it. */
function toTopLogprobs({ token, logprob, top }: PromptLogprob): Readonly<Record<string, number>> | null {
  if (logprob === null) return null;
  const likeliestLast = [{ token, logprob }, ...top.toReversed()];
  // fromEntries and not assignment: a token may read "__proto__".
  return Object.fromEntries(likeliestLast.map(({ token: text, logprob }) => [text, logprob]));
}

/** @param start where the first of these tokens starts, in characters; streams carry it from chunk to chunk */
export function toCompletionLogprobs(
  tokens: readonly PromptLogprob[],
  alternatives: number,
  start = 0,
): CompletionLogprobs {
  let offset = start;
  const offsets = tokens.map(({ token }) => {
    const here = offset;
    offset += characters(token);
    return here;
  });
  return {
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: alternatives === 0 ? null : tokens.map(toTopLogprobs),
    text_offset: offsets,
  };
}

/** Characters that these tokens add to a stream's text offset. */
export function logprobCharacters(tokens: readonly PromptLogprob[]): number {
  return tokens.reduce((sum, { token }) => sum + characters(token), 0);
}

const toChatToken = ({ token, logprob, bytes }: Omit<TokenLogprob, "top">): ChatTokenLogprob => ({
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
  Record<string, { readonly logprob: number; readonly rank: number | null; readonly decoded_token: string }>
> | null)[];

export function toPromptLogprobs(tokens: readonly PromptLogprob[]): PromptLogprobsBody {
  return tokens.map(({ id, token, logprob, top }) => {
    if (logprob === null) return null;
    const likely = top.map((other, i) => [
      other.id,
      { logprob: other.logprob, rank: i + 1, decoded_token: other.token },
    ]);
    // Its own rank is known only where it is among the likeliest, which then replace this entry.
    return Object.fromEntries([[id, { logprob, rank: null, decoded_token: token }], ...likely]);
  });
}
