import fc from "fast-check";
import { createParser, detectFormat, forcedParser, type ToolFormat } from "../../../../src/server/openai/tools/formats";
import { parsed } from "./parsed";

const whole = (format: ToolFormat, text: string) => parsed(createParser(format), [text]);
const call = (name: string, args: string) => [`call: ${name}`, `arguments: ${args}`];

describe.each<[ToolFormat, (inner: string) => string]>([
  ["hermes", (inner) => `<tool_call>\n${inner}\n</tool_call>`],
  ["nemotron", (inner) => `<TOOLCALL>[${inner}]</TOOLCALL>`],
  ["granite", (inner) => `<|tool_call|>[${inner}]`],
  ["granite", (inner) => `[${inner}]`],
  ["granite", (inner) => `<tool_call>\n${inner}\n</tool_call>`],
  ["llama3_json", (inner) => inner],
  ["llama3_json", (inner) => `<|python_tag|>${inner}`],
])("%s %#", (format, wrap) => {
  it.each<[string, string, string[]]>([
    ["a call", '{"name": "f", "arguments": {"a": [1, {"b": "}"}]}}', call("f", '{"a": [1, {"b": "}"}]}')],
    ["parameters", '{"name": "f", "parameters": {"a": 1}}', call("f", '{"a": 1}')],
    ["arguments first", '{"arguments": {"a": 1}, "name": "f"}', call("f", '{"a": 1}')],
    ["no arguments", '{"name": "f"}', call("f", "{}")],
    ["null for arguments", '{"name": "f", "arguments": null}', call("f", "{}")],
    ["arguments as text", '{"name": "f", "arguments": "{\\"a\\": \\"\\u00e9\\"}"}', call("f", '{"a": "é"}')],
    [
      "other keys",
      '{"type": "function", "id": 7, "name": "f", "arguments": {"a": 1}, "x": [2]}',
      call("f", '{"a": 1}'),
    ],
    ["white space", '{ "name" :\n"f" , "arguments" : { "a" : 1 } }', call("f", '{ "a" : 1 }')],
    [
      "marks in strings",
      '{"name": "f", "arguments": {"a": "</tool_call><TOOLCALL>{"}}',
      call("f", '{"a": "</tool_call><TOOLCALL>{"}'),
    ],
    ["quotes and backslashes", '{"name": "f", "arguments": {"a": "\\\\\\"}"}}', call("f", '{"a": "\\\\\\"}"}')],
    ["a name in unicode", '{"name": "f\\u00e9", "arguments": {}}', call("fé", "{}")],
  ])("%s", (_, inner, expected) => {
    expect(whole(format, wrap(inner))).toEqual(expected);
  });

  it.each(['{"nam', '{"name": "f', '{"a": 1}', '{"name": 5, "arguments": {}}', '{"name": ""}', "{]", '{"a" 1}', "{,}"])(
    "shows %j, which is no call, as it is",
    (inner) => {
      const [shown, ...more] = whole(format, wrap(inner));
      expect(more).toEqual([]);
      expect(shown!.startsWith("text: ")).toBe(true);
      const dense = (text: string) => text.replaceAll(/\s/g, "");
      expect(dense(wrap(inner)).startsWith(dense(shown!.slice("text: ".length)))).toBe(true);
      expect(dense(shown!)).toContain(dense(inner));
    },
  );

  it("gives arguments out while they come", () => {
    const parser = createParser(format);
    const [before] = wrap("\0").split("\0") as [string];
    parser.push(`${before}{"name": "f", "argum`);
    expect(parser.push('ents": {"a": "x')).toEqual([{ kind: "arguments", text: '{"a": "x' }]);
    expect(parser.push('y"')).toEqual([{ kind: "arguments", text: 'y"' }]);
  });

  it("ends a call that breaks off with what there is", () => {
    expect(whole(format, `${wrap("\0").split("\0")[0]}{"name": "f", "arguments": {"a": 1`)).toEqual(
      call("f", '{"a": 1'),
    );
  });
});

describe("several calls and text", () => {
  const f = '{"name": "f", "arguments": {"a": 1}}';
  const g = '{"name": "g", "arguments": {}}';
  const both = [...call("f", '{"a": 1}'), ...call("g", "{}")];

  it.each<[ToolFormat, string, string[]]>([
    ["hermes", `<tool_call>\n${f}\n</tool_call>\n<tool_call>\n${g}\n</tool_call>`, both],
    ["hermes", `<tool_call>[${f}, ${g}]</tool_call>`, both],
    ["hermes", `<tool_call>${f}<tool_call>${g}`, both],
    ["hermes", `Let me see.\n\n<tool_call>${f}</tool_call>\n`, ["text: Let me see.", ...call("f", '{"a": 1}')]],
    ["hermes", `<tool_call>${f}</tool_call> Done.`, [...call("f", '{"a": 1}'), "text:  Done."]],
    ["hermes", `<tool_call>{"name": "f", "arguments": {"a": 1}</tool_call>ok`, [...call("f", '{"a": 1}'), "text: ok"]],
    ["hermes", "a < b <tool <tool_call", ["text: a < b <tool <tool_call"]],
    ["hermes", "<tool_call></tool_call>", ["text: <tool_call></tool_call>"]],
    ["hermes", "<<tool_call>>", ["text: <<tool_call>>"]],
    ["hermes", ` ${f}`, [`text:  ${f}`]],
    ["hermes", " \n", ["text:  \n"]],
    ["nemotron", `<TOOLCALL>[${f}, ${g}]</TOOLCALL>`, both],
    ["nemotron", `Sure.<TOOLCALL>[${f}]</TOOLCALL>Ok`, ["text: Sure.", ...call("f", '{"a": 1}'), "text: Ok"]],
    ["granite", `<|tool_call|>[${f}, ${g}]`, both],
    ["granite", `I call [${f}]`, [`text: I call [${f}]`]],
    ["granite", "[1, 2] are numbers", ["text: [1, 2] are numbers"]],
    ["llama3_json", `${f}; ${g}`, both],
    ["llama3_json", `[${f}, ${g}]`, both],
    ["llama3_json", `The call is ${f}`, [`text: The call is ${f}`]],
    ["llama3_json", '{"answer": 42} is the answer', ['text: {"answer": 42} is the answer']],
    ["llama3_json", `${f} {"answer": 42}`, [...call("f", '{"a": 1}'), 'text: {"answer": 42}']],
  ])("%s: %s", (format, text, expected) => {
    expect(whole(format, text)).toEqual(expected);
  });

  it("reads what a constraint brought about", () => {
    expect(parsed(forcedParser("required"), [`[${f},`, g, "]"])).toEqual(both);
    expect(parsed(forcedParser({ name: "f" }), ['{"a"', "", ": 1}"])).toEqual(call("f", '{"a": 1}'));
  });
});

describe("any text, however it is cut", () => {
  const fragments = [
    "<tool_call>",
    "</tool_call>",
    "<TOOLCALL>",
    "</TOOLCALL>",
    "<|tool_call|>",
    "<|python_tag|>",
    "<",
    "tool",
    "[",
    "]",
    "{",
    "}",
    '{"name": "f"',
    ', "arguments": ',
    '{"a": 1}',
    '"',
    "\\",
    ":",
    ",",
    ";",
    " ",
    "\n",
    "é",
    "🪨",
    "x",
    "null",
    "5",
    '{"name": "g", "arguments": {"b": "c"}}',
  ];
  // Any code point but the halves of pairs. fc's own unit for that fills a table of a million of them first.
  const unit = fc.nat(0x10f7ff).map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));
  const text = fc.array(fc.oneof(fc.constantFrom(...fragments), fc.string({ maxLength: 4, unit })), { maxLength: 24 });
  const formats: ToolFormat[] = ["hermes", "nemotron", "granite", "llama3_json"];

  it("means the same", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...formats),
        text,
        fc.infiniteStream(fc.integer({ min: 1, max: 7 })),
        (format, parts, sizes) => {
          const characters = [...parts.join("")];
          const pieces: string[] = [];
          while (characters.length > 0) pieces.push(characters.splice(0, sizes.next().value!).join(""));
          const expected = whole(format, parts.join(""));
          expect(parsed(createParser(format), pieces)).toEqual(expected);
          expect(parsed(createParser(format), [...parts.join("")])).toEqual(expected);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("without braces stays as it is", () => {
    const plain = text.map((parts) => parts.join("").replaceAll(/[{}]/g, "."));
    fc.assert(
      fc.property(fc.constantFrom(...formats), plain, (format, given) => {
        expect(
          whole(format, given)
            .map((part) => part.replace("text: ", ""))
            .join(""),
        ).toBe(given);
      }),
      { numRuns: 2000 },
    );
  });

  it.each<[string, string]>([
    ["open marks", "<tool_call>".repeat(30_000)],
    ["beginnings of marks", "<tool_cal".repeat(30_000)],
    ["braces", "{".repeat(300_000)],
    ["calls", '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'.repeat(5_000)],
    ["one long argument", `<tool_call>{"name": "f", "arguments": {"a": "${"x".repeat(300_000)}`],
    ["arguments before the name", `<tool_call>{"arguments": {"a": "${"x".repeat(300_000)}`],
    ["white space", " ".repeat(300_000)],
    ["a long key", `<tool_call>{"${"k".repeat(300_000)}`],
  ])("takes time in proportion to its length: %s", (_, text) => {
    const pieces = text.match(/[\s\S]{1,3}/g)!;
    // In quadratic time this would take minutes.
    for (const format of formats) expect(parsed(createParser(format), pieces)).not.toEqual([]);
  });
});

it.each<[string | null, ToolFormat | null]>([
  [null, null],
  ["{{ messages }} <tool_call>", null],
  ["{% if tools %}<tool_call>{% endif %}", "hermes"],
  ["{% if tools %}<TOOLCALL>[{% endif %}", "nemotron"],
  ["{% if tools %}<|tool_call|>{% endif %}<tool_call>", "granite"],
  ['{% if tools %}{"name": x, "parameters": y}{% endif %}', "llama3_json"],
  ["{% if tools %}[TOOL_CALLS]{% endif %}", null],
])("the template %j teaches %s", (template, format) => {
  expect(detectFormat(template)).toBe(format);
});
