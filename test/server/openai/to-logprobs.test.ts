import type { PromptLogprob } from "../../../src/llm/types";
import { toCompletionLogprobs } from "../../../src/server/openai/to-logprobs";

const shown = (bytes: readonly number[]) => ({ id: 1, token: Buffer.from(bytes).toString("utf8"), bytes });
const token = (bytes: readonly number[], top: readonly (readonly number[])[] = []): PromptLogprob => ({
  ...shown(bytes),
  logprob: -1,
  rank: 1,
  top: top.map((other) => ({ ...shown(other), logprob: -2 })),
  textOffset: 0,
});

/** The bytes that a token's text stands for. */
const bytesOf = (text: string) =>
  text.startsWith("bytes:")
    ? Buffer.from([...text.matchAll(/\\x(..)/g)].map(([, hex]) => Number.parseInt(hex!, 16)))
    : Buffer.from(text);

it("parts of characters can be put together again", () => {
  const parts = [[0x20, 0x61], [0xe6, 0x97], [0xa5], [0x62, 0xf0], [0x9f, 0xaa, 0xa8]];
  const { tokens } = toCompletionLogprobs(
    parts.map((bytes) => token(bytes)),
    0,
  );
  expect(tokens).toEqual([" a", "bytes:\\xe6\\x97", "bytes:\\xa5", "bytes:\\x62\\xf0", "bytes:\\x9f\\xaa\\xa8"]);
  expect(Buffer.concat(tokens.map(bytesOf)).toString()).toBe(" a日b🪨");
});

it("a token that reads U+FFFD is text", () => {
  expect(toCompletionLogprobs([token([...Buffer.from("\ufffd")])], 0).tokens).toEqual(["\ufffd"]);
});

it("alternatives that are parts of different characters are told apart", () => {
  const { top_logprobs } = toCompletionLogprobs([token([0xe6], [[0xe7], [0xe8]])], 3);
  expect(top_logprobs).toEqual([{ "bytes:\\xe6": -1, "bytes:\\xe7": -2, "bytes:\\xe8": -2 }]);
});
