import { CompletionStream } from "../../../src/bench/serve/completion-stream";

const event = (data: object | string) => `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
const text = (piece: string, finish_reason: string | null = null) =>
  event({ choices: [{ index: 0, text: piece, finish_reason }] });
const delta = (fields: object, finish_reason: string | null = null) =>
  event({ choices: [{ index: 0, delta: fields, finish_reason }] });
const done = event("[DONE]");

/** Each part comes at 10, 20, 30, ... */
function read(...parts: readonly string[]): CompletionStream {
  const stream = new CompletionStream({ keepText: true });
  parts.forEach((part, i) => {
    stream.push(part, 10 * (i + 1));
  });
  stream.end(10 * (parts.length + 1));
  return stream;
}

test("a completion: outputs, text and usage", () => {
  const usage = { prompt_tokens: 4, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 2 } };
  const stream = read(text("a"), text("bc"), text("", "length"), event({ choices: [], usage }), done);
  expect(stream).toMatchObject({ outputTimes: [10, 20], lastTime: 30, text: "abc", error: null });
  expect(stream.usage).toEqual({ promptTokens: 4, completionTokens: 3, cachedTokens: 2 });
});

test("outputs that come together have the same time, and one that is cut has that of its end", () => {
  const first = text("a") + text("b");
  const cut = text("c", "stop");
  const stream = read(first, cut.slice(0, 25), cut.slice(25));
  expect(stream).toMatchObject({ outputTimes: [10, 10, 30], lastTime: 30, error: null });
});

test("a chat: its opening and its closing are no outputs", () => {
  const opening = delta({ role: "assistant", content: "" });
  const stream = read(opening, delta({ content: "a" }), delta({ reasoning_content: "b" }), delta({}, "stop"), done);
  expect(stream).toMatchObject({ outputTimes: [20, 30], lastTime: 40, text: "a", error: null });
});

test("a token without text is an output, also when it is the only one", () => {
  expect(read(text(""), text("", "stop"))).toMatchObject({ outputTimes: [10], error: null });
  expect(read(text("", "stop"))).toMatchObject({ outputTimes: [10], error: null });
  expect(read(delta({ role: "assistant", content: "" }, "stop"))).toMatchObject({ outputTimes: [10], error: null });
});

test("the last usage counts, where each frame has one", () => {
  const frame = (piece: string, tokens: number) =>
    event({
      choices: [{ text: piece, finish_reason: "stop" }],
      usage: { prompt_tokens: 1, completion_tokens: tokens },
    });
  expect(read(frame("a", 1), frame("b", 5)).usage).toEqual({
    promptTokens: 1,
    completionTokens: 5,
    cachedTokens: null,
  });
});

test.each([
  [[text("a"), event({ error: { message: "out of memory" } }), done], "error frame: out of memory"],
  [[event({ error: "no" })], "error frame: no"],
  [[text("a"), "data: {broken\n\n", done], "a frame of the stream is not JSON: {broken"],
  [[text("a")], "the stream ended early: neither finish_reason nor [DONE] came"],
  [[done], "the answer ended without any output"],
  [['{"choices":[{"text":"whole"}]}'], "the answer ended without any output"],
])("a failure %#", (parts, error) => {
  expect(read(...parts).error).toBe(error);
});
