import { generate, newTurn, toMessages } from "../../web/generation.js";
import { stopStrings } from "../../web/sampling.js";
import { measured } from "../../web/transcript.js";

const turn = (prompt: string, answer = "") => ({ ...newTurn(prompt), answer });

describe("messages of a conversation", () => {
  it("end with the last prompt, whatever came of it", () => {
    expect(toMessages([turn("a", "b"), turn("c", "half an answer")], "")).toEqual([
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
      { role: "user", content: "c" },
    ]);
  });

  it("begin with the system message, unless it is blank", () => {
    expect(toMessages([turn("a")], "Be kind.")[0]).toEqual({ role: "system", content: "Be kind." });
    expect(toMessages([turn("a")], " \n")).toHaveLength(1);
  });

  it("leave out what was never answered", () => {
    expect(toMessages([turn("a"), turn("b")], "")).toEqual([{ role: "user", content: "b" }]);
  });
});

it("shows reasoning before the answer, and keeps the answer alone", async () => {
  const deltas = [
    { reasoning_content: "It is " },
    { reasoning_content: "winter." },
    { content: "Co" },
    { content: "ld." },
  ];
  const events = deltas.map((delta) => `data: ${JSON.stringify({ choices: [{ delta }] })}\n\n`).join("");
  const fetched = jest.spyOn(globalThis, "fetch").mockResolvedValue(new Response(`${events}data: [DONE]\n\n`));
  Object.assign(globalThis, { sessionStorage: { getItem: () => null } }); // Node has none
  const answered = turn("Is it cold?");
  let shown = "";
  await generate(answered, "/v1/chat/completions", {}, new AbortController().signal, (piece) => {
    shown += piece;
  });
  fetched.mockRestore();
  Reflect.deleteProperty(globalThis, "sessionStorage");
  expect([shown, answered.answer]).toEqual(["It is winter.\n\nCold.", "Cold."]);
});

it.each([
  ["", []],
  ["\n\n", []],
  ["END", ["END"]],
  ["a b\n \n\\n\\n", ["a b", " ", "\n\n"]],
  ["\\t|\\\\n", ["\t|\\n"]],
  ["\\x", ["\\x"]],
])("stop strings of %j", (text, strings) => {
  expect(stopStrings(text)).toEqual(strings);
});

it.each([
  [{ tokens: 1, firstMs: 12.4 }, "1 token · first after 12 ms"],
  [{ tokens: 1200, firstMs: 3, perSecond: 99.6, finish: "stop" }, "1,200 tokens · 100 tokens/s · first after 3 ms"],
  [{ tokens: 2, finish: "length" }, "2 tokens · cut at max tokens"],
  [{ tokens: 0, finish: "stopped" }, "0 tokens · stopped"],
])("what is said of an answer: %j", (fields, text) => {
  expect(measured({ ...newTurn("a"), ...fields })).toBe(text);
});
