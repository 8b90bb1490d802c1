import fc from "fast-check";
import type { Tool } from "../../../../src/server/openai/schemas/tools";
import { createParser, detectFormat } from "../../../../src/server/openai/tools/formats";
import { parsed } from "./parsed";

const tools: readonly Tool[] = [
  {
    type: "function",
    function: {
      name: "f",
      parameters: {
        type: "object",
        properties: {
          text: { type: "string" },
          count: { type: "integer" },
          ratio: { type: ["number", "null"] },
          maybe: { anyOf: [{ type: "string" }, { type: "null" }] },
          list: { type: "array" },
          choice: { enum: ["1", "b"] },
        },
      },
    },
  },
];

const parse = (pieces: readonly string[]) => parsed(createParser("qwen3_coder", tools), pieces);

const parameter = (key: string, value: string) => `<parameter=${key}>\n${value}\n</parameter>\n`;
const call = (...parameters: string[]) => `<tool_call>\n<function=f>\n${parameters.join("")}</function>\n</tool_call>`;
const found = (args: string) => ["call: f", `arguments: ${args}`];

const cases: readonly [name: string, text: string, expected: readonly string[]][] = [
  ["no arguments", call(), found("{}")],
  ["a text", call(parameter("text", "12")), found('{"text": "12"}')],
  ["a text of several lines", call(parameter("text", "a\n  b\n")), found('{"text": "a\\n  b\\n"}')],
  [
    "a text with marks",
    call(parameter("text", "<parameter=x> </function>")),
    found('{"text": "<parameter=x> </function>"}'),
  ],
  ["a number", call(parameter("count", "12")), found('{"count": 12}')],
  ["no number", call(parameter("count", "twelve")), found('{"count": "twelve"}')],
  ["an integer for a number", call(parameter("ratio", "3")), found('{"ratio": 3}')],
  ["null", call(parameter("ratio", "null"), parameter("maybe", "null")), found('{"ratio": null, "maybe": null}')],
  ["a text where null could be", call(parameter("maybe", "5")), found('{"maybe": "5"}')],
  ["a list", call(parameter("list", '[1, {"a": 2}]')), found('{"list": [1, {"a": 2}]}')],
  ["a text of a choice", call(parameter("choice", "1")), found('{"choice": "1"}')],
  [
    "what no schema knows",
    call(parameter("other", "true"), parameter("more", "so")),
    found('{"other": true, "more": "so"}'),
  ],
  ["quotes in a key", call(parameter('a"b', "1")), found('{"a\\"b": 1}')],
  ["without the mark around", `<function=f>\n${parameter("count", "1")}</function>`, found('{"count": 1}')],
  ["text before", `I look.\n\n${call()}`, ["text: I look.", ...found("{}")]],
  ["text behind", `${call()}\nDone.`, [...found("{}"), "text: \nDone."]],
  ["two calls", `${call()}\n${call(parameter("count", "2"))}`, [...found("{}"), ...found('{"count": 2}')]],
  ["white space only behind", `${call()}\n\n`, found("{}")],
  ["an end in a value", "<tool_call><function=f><parameter=text>ab", ["call: f"]],
  ["an end between parameters", `<tool_call><function=f>${parameter("count", "1")}`, found('{"count": 1')],
  ["a mark and no call", "<tool_call>\n{}", ["text: <tool_call>\n{}"]],
  ["a mark at the end", "so <tool_call>", ["text: so <tool_call>"]],
  ["a name without an end", "<function=f", ["text: <function=f"]],
  ["a name that is none", "<function=a b> c", ["text: <function=a b> c"]],
  ["half a mark", "a < b <func", ["text: a < b <func"]],
];

test.each(cases)("%s", (_, text, expected) => {
  expect(parse([text])).toEqual(expected);
});

test("how the text is cut does not matter", () => {
  const texts = fc.constantFrom(...cases.map(([, text]) => text));
  fc.assert(
    fc.property(texts, fc.array(fc.nat(80), { maxLength: 6 }), (text, cuts) => {
      const ends = [...new Set([...cuts, text.length])].sort((a, b) => a - b);
      const pieces = ends.map((end, i) => text.slice(ends[i - 1] ?? 0, end));
      expect(parse(pieces)).toEqual(parse([text]));
    }),
  );
});

test("calls come while they are written", () => {
  const parser = createParser("qwen3_coder", tools);
  expect(parser.push("<tool_call>\n<function=f>")).toEqual([{ kind: "call", name: "f" }]);
  expect(parser.push(parameter("count", "1"))).toEqual([{ kind: "arguments", text: '{"count": 1' }]);
});

test("a template that teaches it", () => {
  const template = "{% if tools %}<tool_call>\n<function=example>\n<parameter=a>{% endif %}";
  expect(detectFormat(template)).toBe("qwen3_coder");
});
