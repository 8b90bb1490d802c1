/** Hostile and odd requests through the whole of it, each followed by a normal one that gets its usual answer. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { modelPath } from "../../src/llm/bundled-model";
import { LLM } from "../../src/llm/llm";
import { type RunningServer, serve } from "../../src/server/serve";
import { until } from "../helpers/until";

const maxModelLen = 1024;
const dir = mkdtempSync(join(tmpdir(), "mamba-serve-"));
let llm: LLM;
let server: RunningServer;
let usual: string;

const post = (path: string, body: unknown, init: RequestInit = {}) =>
  fetch(`${server.url}/v1/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...init,
  });

interface Answer {
  readonly choices: readonly { readonly text: string }[];
  readonly usage: { readonly total_tokens: number };
  readonly error: { readonly param: string | null; readonly code: string | null; readonly message: string };
}

const read = async (response: Response) => ({ status: response.status, body: (await response.json()) as Answer });

async function normal(): Promise<string> {
  const request = { prompt: "Once upon a time", max_tokens: 8, temperature: 0, ignore_eos: true };
  const { status, body } = await read(await post("completions", request));
  expect(status).toBe(200);
  return body.choices[0]!.text;
}

beforeAll(async () => {
  llm = await LLM.load(undefined, { maxNumSeqs: 4, maxModelLen });
  server = await serve(llm, { port: 0, drainTimeoutMs: 0 });
  usual = await normal();
});
afterEach(async () => {
  expect(await normal()).toBe(usual);
  // All three at once: a request whose client left may still be tokenized, and waits for a step after nothing has run.
  await until(() => {
    const { running, waiting, slotsUsed } = llm.stats();
    return running + waiting + slotsUsed === 0;
  });
});
afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});

const ids = (count: number) => new Array<number>(count).fill(5);
const user = (content: unknown) => ({ role: "user", content });
const tooLong = [400, "prompt", "context_length_exceeded"] as const;

describe("completions", () => {
  const base = { prompt: "The king", max_tokens: 2, temperature: 0 };

  it.each<[string, object, readonly [number, string | null, string | null] | null]>([
    ["1 MB of a letter", { prompt: "a".repeat(1_000_000) }, tooLong],
    ["a letter up to what is tokenized", { prompt: "a".repeat(9_000) }, tooLong],
    ["1 MB of emoji", { prompt: "🪨".repeat(250_000) }, tooLong],
    ["10,000 special tokens", { prompt: "<|end|>".repeat(10_000) }, tooLong],
    ["lone surrogates and NUL", { prompt: "\ud800\u0000\udfff" }, null],
    ["a prompt that fills the context", { prompt: ids(maxModelLen) }, tooLong],
    ["a prompt and an output that fill it", { prompt: ids(maxModelLen - 2) }, null],
    ["one token more", { prompt: ids(maxModelLen - 1) }, tooLong],
    ["an output alone", { max_tokens: 2 ** 31 - 1 }, tooLong],
    ["one prompt of three too long", { prompt: [ids(2), ids(maxModelLen), ids(3)] }, tooLong],
    ["top_k above the vocabulary", { top_k: 2 ** 31 - 1, temperature: 1 }, null],
    ["a temperature that is almost none", { temperature: 1e-40 }, null],
    ["every penalty at its end", { presence_penalty: 2, frequency_penalty: -2, repetition_penalty: 100 }, null],
    ["the largest seed", { seed: Number.MAX_SAFE_INTEGER, temperature: 2 }, null],
    ["all alternatives", { logprobs: 20 }, null],
    ["a stop string in the middle of a character", { stop: ["\ud83e"] }, null],
    ["token ids that end it, every one", { stop_token_ids: Array.from({ length: 1024 }, (_, id) => id) }, null],
    ["16 choices of 8 prompts", { prompt: new Array(8).fill("x"), n: 16, max_tokens: 1 }, null],
  ])("%s", async (_, change, refused) => {
    const { status, body } = await read(await post("completions", { ...base, ...change }));
    const answer = [status, body.error?.param ?? null, body.error?.code ?? null];
    expect(answer).toEqual(refused ?? [200, null, null]);
  });
});

describe("chats", () => {
  it.each<[string, object, number]>([
    ["the assistant last", { messages: [user("x"), { role: "assistant", content: "y" }] }, 200],
    ["a system message in the middle", { messages: [user("x"), { role: "system", content: "y" }, user("z")] }, 200],
    ["nothing said", { messages: [user("")] }, 200],
    ["control tokens", { messages: [user("<|end|>\n<|assistant|>\n".repeat(20))] }, 200],
    ["4,096 messages", { messages: new Array(4096).fill(user("x")) }, 400],
    [
      "arguments that would replace the template's own",
      { chat_template_kwargs: { add_generation_prompt: false } },
      400,
    ],
    ["arguments it does not know", { chat_template_kwargs: { tokenize: true } }, 200],
    ["a tool", { tools: [{ type: "function", function: { name: "f" } }] }, 200],
  ])("%s", async (_, change, expected) => {
    const { status, body } = await read(
      await post("chat/completions", { messages: [user("x")], max_tokens: 2, ...change }),
    );
    expect({ status, message: body.error?.message }).toMatchObject({ status: expected });
  });
});

it("answers others while it tokenizes a long text", async () => {
  const long = post("completions", { prompt: "a".repeat(9_000), max_tokens: 1 }).then(() => "long");
  expect(await Promise.race([long, fetch(`${server.url}/health`).then(() => "health")])).toBe("health");
  await long;
});

it("300 requests cut short, before the first token and in the middle", async () => {
  for (let round = 0; round < 10; round++) {
    await Promise.all(
      Array.from({ length: 30 }, async (_, i) => {
        const body = { prompt: "Once", max_tokens: 500, ignore_eos: true, stream: i % 2 === 0 };
        const signal = AbortSignal.timeout(1 + (i % 10) * 3);
        await post("completions", body, { signal })
          .then((response) => response.text())
          .catch(() => {});
      }),
    );
  }
});

describe("chat templates", () => {
  it.each<[string, string, number, string]>([
    [
      "that loop",
      "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
      500,
      "broken_template",
    ],
    ["that recur", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", 500, "broken_template"],
    [
      "that make a long text",
      "{% for i in range(100000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}",
      500,
      "broken_template",
    ],
    ["with a syntax error", "{% if %}", 500, "broken_template"],
    ["that refuse", "{{ raise_exception('no user here') }}", 400, "chat_template"],
  ])("%s fail as what they are, and the model still completes", async (_, template, expected, code) => {
    const warn = jest.spyOn(process, "emitWarning").mockImplementation(() => {});
    cpSync(modelPath(undefined), dir, { recursive: true });
    writeFileSync(join(dir, "chat_template.jinja"), template);
    const other = await LLM.load(dir, { maxNumSeqs: 1, maxModelLen });
    const its = await serve(other, { port: 0 });
    const ask = (path: string, body: object) =>
      fetch(`${its.url}/v1/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    const { status, body } = await read(await ask("chat/completions", { messages: [user("x")], max_tokens: 1 }));
    expect({ status, code: body.error.code }).toEqual({ status: expected, code });
    const warnings = warn.mock.calls.map(([warning]) => warning);
    expect(warnings).toEqual(expected === 500 ? [expect.stringContaining("the chat template failed")] : []);
    warn.mockRestore();
    expect((await ask("completions", { prompt: "x", max_tokens: 1 })).status).toBe(200);
    await its.close();
  });
});
