import { parseJson } from "../../src/json/parse";
import { JsonNumber } from "../../src/json/value";
import { ChatTemplate, type RenderOptions, type TemplateMessage } from "../../src/tokenizer/chat-template";
import { Tokenizer } from "../../src/tokenizer/tokenizer";
import { bundledDir } from "./fixtures";

const hi: TemplateMessage[] = [{ role: "user", content: "hi" }];
const open: ChatTemplate[] = [];

function compile(source: string, specialTokens = {}, limits = {}): ChatTemplate {
  const template = ChatTemplate.compile(source, specialTokens, limits);
  open.push(template);
  return template;
}

afterAll(() => Promise.all(open.map((template) => template.close())));

describe("the bundled template", () => {
  const { chatTemplate, specialTokens } = Tokenizer.load(bundledDir);
  const template = compile(chatTemplate!, specialTokens);

  it.each<[string, TemplateMessage[], RenderOptions, string]>([
    ["one question", hi, {}, "<|user|>\nhi<|end|>\n<|assistant|>\n"],
    ["no prompt for the answer", hi, { addGenerationPrompt: false }, "<|user|>\nhi<|end|>\n"],
    [
      "all roles",
      [{ role: "system", content: "Be brief." }, ...hi, { role: "assistant", content: "Hello {{ 1 }}" }, ...hi],
      {},
      "<|system|>\nBe brief.<|end|>\n<|user|>\nhi<|end|>\n<|assistant|>\nHello {{ 1 }}<|end|>\n<|user|>\nhi<|end|>\n<|assistant|>\n",
    ],
    [
      "tools, a call of one and its result",
      [
        ...hi,
        {
          role: "assistant",
          content: "",
          tool_calls: [{ type: "function", function: { name: "weather", arguments: { city: "Oslo" } } }],
        },
        { role: "tool", content: '{"sky": "clear"}' },
      ] as TemplateMessage[],
      {
        tools: [
          {
            type: "function",
            function: {
              name: "weather",
              description: "The weather in a city.",
              parameters: { type: "object", properties: { city: { type: "string" }, day: { type: "string" } } },
            },
          },
          { type: "function", function: { name: "roll" } },
        ],
      },
      '<|system|>\nTools:\nweather(city, day): The weather in a city.\nroll()\nCall one with <tool_call>{"name": ..., "arguments": {...}}</tool_call>.<|end|>\n<|user|>\nhi<|end|>\n<|assistant|>\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|end|>\n<|user|>\n<tool_response>\n{"sky": "clear"}\n</tool_response><|end|>\n<|assistant|>\n',
    ],
    [
      "tools without messages",
      [],
      { tools: [{ function: { name: "f" } }] },
      '<|system|>\nTools:\nf()\nCall one with <tool_call>{"name": ..., "arguments": {...}}</tool_call>.<|end|>\n<|assistant|>\n',
    ],
    ["no messages", [], {}, "<|assistant|>\n"],
    ["a role it does not know", [{ role: "wizard", content: "x" }], {}, "<|assistant|>\n"],
  ])("renders %s", async (_name, messages, options, expected) => {
    expect(await template.render(messages, options)).toBe(expected);
  });

  it("keeps concurrent renderings apart", async () => {
    const texts = await Promise.all(
      Array.from({ length: 20 }, (_, i) => template.render([{ role: "user", content: `${i}` }])),
    );
    expect(texts).toEqual(Array.from({ length: 20 }, (_, i) => `<|user|>\n${i}<|end|>\n<|assistant|>\n`));
  });
});

describe("variables", () => {
  const source =
    "{{ bos_token }}|{{ pad_token }}|{{ tools is none }}|{{ documents is none }}|{{ thinking }}|{% if tools %}{{ tools[0].name }}{% endif %}";
  const template = compile(source, { bos_token: "<s>" });

  it("are the special tokens, the tools and the keyword arguments", async () => {
    expect(await template.render(hi)).toBe("<s>||True|True||");
    expect(await template.render(hi, { tools: [{ name: "f" }], kwargs: { thinking: true } })).toBe(
      "<s>||False|True|True|f",
    );
  });

  it.each(["messages", "range", "bos_token", "raise_exception", "add_generation_prompt"])(
    "%s cannot be replaced",
    async (name) => {
      await expect(template.render(hi, { kwargs: { [name]: 1 } })).rejects.toMatchObject({
        code: "ERR_CHAT_TEMPLATE",
        message: expect.stringContaining(`"${name}"`),
      });
    },
  );

  it("have no place for functions", async () => {
    expect(await template.render([{ role: "user", content: () => "code" }])).toBe("<s>||True|True||");
  });
});

// Each is hostile when asked to be, and must render a normal request right after.
const doubled = (times: number) =>
  `{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(${times}) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}`;

it.each([
  ["a range without end", "{% for i in range(1000000000) %}{% endfor %}", /Range too big/],
  [
    "nested loops",
    "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    /longer than 300 ms/,
  ],
  ["recursion", "{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}", /call stack/],
  ["a long text", `${doubled(20)}{{ ns.x }}`, /the text is longer than 4194304 characters/],
  ["a text no string can hold", `${doubled(40)}{{ ns.x }}`, /string length|memory|longer than 300 ms/],
  ["a list that no heap can hold", "{{ ([1] * 99999999) * 99 }}", /the repeated sequence is too long/],
  ["an int that no memory can hold", "{{ 10 ** (10 ** 10) }}", /too large/],
  // One allocation beyond the heap: this aborts the process it happens in.
  ["a list of 33 million", `${doubled(22)}{{ ns.x.split('a') | length }}`, /longer than 300 ms|memory/],
  ["a call of nothing", "{{ messages[0].content.constructor('return process')() }}", /has no attribute 'content'/],
  ["a call of a constructor", "{{ ''.constructor('return process')() }}", /has no attribute 'constructor'/],
  ["a call of what Python hides", "{{ ''.__class__.__mro__ }}", /unsafe/],
])("%s fails within the budget and leaves the rest working", async (_name, attack, message) => {
  const source = `{% if messages[0].role == 'hostile' %}${attack}{% else %}ok{% endif %}`;
  // What another limit stops must not run into this one first, on a busy machine either.
  const deadlineMs = message.source.includes("300 ms") ? 300 : 30_000;
  const template = compile(source, {}, { deadlineMs, heapMiB: 64 });
  await template.warm();
  let turns = 0;
  const timer = setInterval(() => turns++, 5);
  const start = performance.now();
  const failure = await template.render([{ role: "hostile" }]).catch((error: unknown) => error);
  const took = performance.now() - start;
  clearInterval(timer);
  expect(failure).toMatchObject({ code: "ERR_BROKEN_TEMPLATE", message: expect.stringMatching(message) });
  if (took > 200) expect(turns).toBeGreaterThan(5);
  expect(await template.render(hi)).toBe("ok");
});

describe("who is at fault", () => {
  const source = `{% if not messages %}{{ raise_exception('no ' ~ 'messages') }}
{% elif messages[0].content == 'long' %}{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}{% else %}{{ messages[0].nope.nope }}{% endif %}`;
  const template = compile(source, {}, { deadlineMs: 200, maxOutputChars: 100_000 });
  const long = [
    { role: "user", content: "long" },
    { role: "user", content: "x".repeat(300_000) },
  ];

  it.each<[string, TemplateMessage[], string, RegExp]>([
    ["the messages, where the template says so", [], "ERR_CHAT_TEMPLATE", /failed: no messages$/],
    ["the template, where it fails", hi, "ERR_BROKEN_TEMPLATE", /'dict object' has no attribute 'nope'/],
    ["the template, where it takes too long", long.slice(0, 1), "ERR_BROKEN_TEMPLATE", /longer than 200 ms/],
    ["the messages, where they are long", long, "ERR_TOO_LONG", /longer than 200 ms/],
  ])("is %s", async (_name, messages, code, message) => {
    await expect(template.render(messages)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

describe("check", () => {
  it("names what is broken", async () => {
    const check = compile("{% if messages %}{{ messages|frobnicate }}{% endif %}").check();
    await expect(check).rejects.toMatchObject({ code: "ERR_BROKEN_TEMPLATE", message: /frobnicate/ });
  });

  it.each(["{{ messages[0].content }}", "{{ raise_exception('a system message is needed') }}"])(
    "takes %s",
    async (source) => {
      await compile(source).check();
    },
  );
});

it("values reach the template as the request spelled them", async () => {
  const tools = parseJson('[{"n": 1.0, "10": 12345678901234567890, "2": 1e2, "a": -0}]') as object[];
  const template = compile("{{ tools[0] | tojson }} {{ tools[0] }} {{ x }}");
  const text = '{"n": 1.0, "10": 12345678901234567890, "2": 100.0, "a": 0}';
  expect(await template.render([], { tools, kwargs: { x: new JsonNumber("2.50") } })).toBe(
    `${text} ${text.replaceAll('"', "'")} 2.5`,
  );
});

it.each([
  ["a syntax error", "{% if %}", /Expected an expression/],
  ["an unclosed block", "{% for m in messages %}", /Unexpected end of template/],
  ["parentheses 50000 deep", `{{ ${"(".repeat(50_000)}1${")".repeat(50_000)} }}`, /call stack/],
  ["an unknown filter", "{{ messages | frobnicate }}", /No filter named 'frobnicate'/],
  ["a filter that is not supported", "{{ messages | pprint }}", /the filter pprint is not supported/],
])("%s is an ERR_BROKEN_TEMPLATE at each rendering", async (_name, source, message) => {
  const template = compile(source);
  for (let i = 0; i < 2; i++) {
    await expect(template.render(hi)).rejects.toMatchObject({
      code: "ERR_BROKEN_TEMPLATE",
      message: expect.stringMatching(message),
    });
  }
});

it("refuses a template of megabytes", () => {
  expect(() => ChatTemplate.compile("x".repeat(2e6), {})).toThrow(
    expect.objectContaining({ code: "ERR_BROKEN_TEMPLATE" }),
  );
});

it("is of no use after close", async () => {
  const template = compile("ok");
  const pending = template.render(hi);
  await Promise.all([expect(pending).rejects.toMatchObject({ code: "ERR_CLOSED" }), template.close()]);
  await expect(template.render(hi)).rejects.toMatchObject({ code: "ERR_CLOSED" });
});
