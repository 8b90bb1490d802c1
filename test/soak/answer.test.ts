import { difference, differenceOfPart, readStream, readWhole } from "./answer";

const path = "/v1/completions";
const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
const event = (body: object) => `data: ${JSON.stringify(body)}\n\n`;
const choice = (text: string, finish_reason: string | null = null, logprobs: object | null = null) =>
  event({ choices: [{ index: 0, text, logprobs, finish_reason }], usage: null });
const end = `${event({ choices: [], usage })}data: [DONE]\n\n`;
const listed = (token: string, text_offset: number) => ({
  tokens: [token],
  token_logprobs: [-1],
  top_logprobs: null,
  text_offset: [text_offset],
});

const whole = readWhole(
  path,
  JSON.stringify({ choices: [{ index: 0, text: "ab", logprobs: null, finish_reason: "stop" }], usage }),
);

it("a stream equals the same answer whole", () => {
  const stream = readStream(path, choice("a") + choice("b") + choice("", "stop") + end, 1);
  expect(difference(stream, whole)).toBeNull();
  expect(stream).toEqual({
    choices: [{ text: "ab", logprobs: [], finishReason: "stop" }],
    promptTokens: 3,
    completionTokens: 2,
  });
});

it("a chat's does too", () => {
  const logprobs = { content: [{ token: "a" }, { token: "b" }], refusal: null };
  const message = { role: "assistant", content: "ab", refusal: null };
  const all = readWhole(
    path,
    JSON.stringify({ choices: [{ index: 0, message, logprobs, finish_reason: "length" }], usage }),
  );
  const delta = (content: string, finish_reason: string | null = null) =>
    event({
      choices: [
        {
          index: 0,
          delta: content === "" ? {} : { content },
          logprobs: content === "" ? null : { content: [{ token: content }] },
          finish_reason,
        },
      ],
    });
  expect(difference(readStream(path, delta("a") + delta("b") + delta("", "length") + end, 1), all)).toBeNull();
});

it.each([
  ["a lost token", choice("a") + choice("", "stop") + end, "text of choice 0"],
  ["a token twice", choice("a") + choice("b") + choice("b") + choice("", "stop") + end, "text of choice 0"],
  ["another reason", choice("ab", "length") + end, "finishReason of choice 0"],
  ["log probabilities", choice("a", null, listed("a", 0)) + choice("b", "stop", listed("b", 1)) + end, "logprobs of"],
])("%s is a difference", (_, stream, expected) => {
  expect(difference(readStream(path, stream, 1), whole)).toContain(expected);
});

it("another usage is a difference", () => {
  expect(difference({ ...whole, completionTokens: 3 }, whole)).toContain("instead of");
});

it.each([
  ["no end", choice("ab", "stop"), "without [DONE]"],
  ["no usage", `${choice("ab", "stop")}data: [DONE]\n\n`, "has no usage"],
  ["a choice without an end", choice("ab") + end, "finish_reason null"],
  ["text after the end of a choice", choice("a", "stop") + choice("b") + end, "goes on"],
  ["an event after [DONE]", choice("ab", "stop") + end + choice("c"), "after [DONE]"],
  ["an event after the usage", event({ choices: [], usage }) + choice("ab", "stop"), "after the usage"],
  ["an error", event({ error: { message: "lost" } }), "an error within the stream"],
  ["a choice too many", event({ choices: [{ index: 1, text: "a", logprobs: null, finish_reason: null }] }), "choice 1"],
  ["fewer log probabilities than tokens", choice("ab", "stop", listed("ab", 0)) + end, "a usage of 2"],
])("a stream with %s is refused", (_, stream, expected) => {
  expect(() => readStream(path, stream, 1)).toThrow(expected);
});

it("what a client got before it left is the beginning of the whole", () => {
  const part = (stream: string) => differenceOfPart(readStream(path, stream, 1, { cut: true }), whole);
  expect(part("")).toBeNull();
  expect(part(choice("a"))).toBeNull();
  expect(part(`${choice("a")}data: {"choi`)).toBeNull();
  expect(part(choice("b"))).toContain("text of choice 0");
  expect(part(choice("", null, listed("a", 0)))).toContain("logprobs of choice 0");
});

describe("a response", () => {
  const named = (events: readonly object[]) =>
    events.map((data, sequence_number) => event({ ...data, sequence_number })).join("");
  const delta = (text: string) => ({ type: "response.output_text.delta", delta: text });
  const body = {
    status: "incomplete",
    output: [{ content: [{ text: "ab" }] }],
    usage: { input_tokens: 3, output_tokens: 2, total_tokens: 5 },
  };
  const last = { type: "response.incomplete", response: body };
  const read = (events: readonly object[]) => readStream("/v1/responses", named(events), 1);

  it("says the same whole and streamed", () => {
    const all = readWhole("/v1/responses", JSON.stringify(body));
    expect(difference(read([{ type: "response.created" }, delta("a"), delta("b"), last]), all)).toBeNull();
  });

  it.each([
    ["a lost piece", [delta("a"), last], "a in pieces, ab at the end"],
    ["no end", [delta("a"), delta("b")], "without a last event"],
    ["an event after the end", [delta("ab"), last, delta("c")], "after the last"],
    ["an error", [{ type: "error", message: "lost" }], "an error within"],
  ])("with %s is refused", (_, events, problem) => {
    expect(() => read(events)).toThrow(problem);
  });

  it("with an event left out is refused", () => {
    const text = named([delta("a"), delta("b"), last])
      .split("\n\n")
      .toSpliced(1, 1)
      .join("\n\n");
    expect(() => readStream("/v1/responses", text, 1)).toThrow("out of order");
  });
});
