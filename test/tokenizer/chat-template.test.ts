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
    expect(await template.render(hi)).toBe("<s>||true|true||");
    expect(await template.render(hi, { tools: [{ name: "f" }], kwargs: { thinking: true } })).toBe(
      "<s>||false|true|true|f",
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

  it("that cannot be sent to the rendering process fail alone", async () => {
    const bad = [{ role: "user", content: () => "code" }];
    await expect(template.render(bad)).rejects.toMatchObject({ code: "ERR_CHAT_TEMPLATE" });
    expect(await template.render(hi)).toBe("<s>||true|true||");
  });
});

// Each is hostile when asked to be, and must render a normal request right after.
const doubled = (times: number) =>
  `{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(${times}) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}`;

it.each([
  ["a loop without end", "{% for i in range(1000000000) %}{% endfor %}", /longer than 300 ms|memory/],
  [
    "nested loops",
    "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    /longer than 300 ms/,
  ],
  ["recursion", "{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}", /call stack/],
  ["a long text", `${doubled(20)}{{ ns.x }}`, /the text is longer than 4194304 characters/],
  ["a text no string can hold", `${doubled(40)}{{ ns.x }}`, /string length/],
  // One allocation beyond the heap: this aborts the process it happens in.
  ["a list of 33 million", `${doubled(22)}{{ ns.x.split('a') | length }}`, /longer than 300 ms|memory/],
  ["raise_exception", "{{ raise_exception('roles must alternate') }}", /roles must alternate/],
  ["a call of nothing", "{{ messages[0].content.constructor('return process')() }}", /not a function|call/i],
])("%s fails within the budget and leaves the rest working", async (_name, attack, message) => {
  const source = `{% if messages[0].role == 'hostile' %}${attack}{% else %}ok{% endif %}`;
  const template = compile(source, {}, { deadlineMs: 300, heapMiB: 64 });
  await template.warm();
  let turns = 0;
  const timer = setInterval(() => turns++, 5);
  const start = performance.now();
  await expect(template.render([{ role: "hostile" }])).rejects.toMatchObject({
    code: "ERR_CHAT_TEMPLATE",
    message: expect.stringMatching(message),
  });
  const took = performance.now() - start;
  clearInterval(timer);
  expect(took).toBeLessThan(2_000);
  if (took > 200) expect(turns).toBeGreaterThan(5);
  expect(await template.render(hi)).toBe("ok");
});

it.each([
  ["a syntax error", "{% if %}", /Unexpected token|Expected/],
  ["an unclosed block", "{% for m in messages %}", /./],
  ["parentheses 5000 deep", `{{ ${"(".repeat(5000)}1${")".repeat(5000)} }}`, /call stack/],
  ["an unknown filter", "{{ messages | frobnicate }}", /frobnicate|filter/i],
])("%s is an ERR_CHAT_TEMPLATE at each rendering", async (_name, source, message) => {
  const template = compile(source);
  for (let i = 0; i < 2; i++) {
    await expect(template.render(hi)).rejects.toMatchObject({
      code: "ERR_CHAT_TEMPLATE",
      message: expect.stringMatching(message),
    });
  }
});

it("refuses a template of megabytes", () => {
  expect(() => ChatTemplate.compile("x".repeat(2e6), {})).toThrow(
    expect.objectContaining({ code: "ERR_CHAT_TEMPLATE" }),
  );
});

it("is of no use after close", async () => {
  const template = compile("ok");
  const pending = template.render(hi);
  await Promise.all([expect(pending).rejects.toMatchObject({ code: "ERR_CLOSED" }), template.close()]);
  await expect(template.render(hi)).rejects.toMatchObject({ code: "ERR_CLOSED" });
});
