import type { TokenLogprob } from "../llm/types";

/** The parallel arrays of /v1/completions. */
export interface CompletionLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly number[];
  /** Null when no alternatives were asked for (logprobs: 0). */
  readonly top_logprobs: readonly Readonly<Record<string, number>>[] | null;
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
function toTopLogprobs(token: TokenLogprob): Readonly<Record<string, number>> {
  const likeliestLast = [token, ...token.top.toReversed()];
  // fromEntries and not assignment: a token may read "__proto__".
  return Object.fromEntries(likeliestLast.map(({ token: text, logprob }) => [text, logprob]));
}

/** @param start where the first of these tokens starts, in characters; streams carry it from chunk to chunk */
export function toCompletionLogprobs(
  tokens: readonly TokenLogprob[],
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
export function logprobCharacters(tokens: readonly TokenLogprob[]): number {
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
