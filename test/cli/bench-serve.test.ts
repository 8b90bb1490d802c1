import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningServer, serve } from "../../src/server/serve";
import { FakeLanguageModel } from "../helpers/fake-language-model";
import { run } from "./run";

const folder = mkdtempSync(join(tmpdir(), "mamba-serve-bench-serve-"));
let model: FakeLanguageModel;
let server: RunningServer;
beforeEach(async () => {
  model = new FakeLanguageModel();
  server = await serve(model, { port: 0 });
});
afterEach(() => server.close());
afterAll(() => rmSync(folder, { recursive: true }));

const small = ["--num-prompts", "6", "--random-input-len", "5", "--random-output-len", "4", "--vocab-size", "15"];
const bench = (...args: readonly string[]) => run(["bench", "serve", "--base-url", server.url, ...args]);

test("a table, and nothing else where no terminal shows progress", async () => {
  const { code, stdout } = await bench(...small, "--max-concurrency", "2", "--num-warmups", "1");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^=+ Serving Benchmark Result =+\nSuccessful requests: {21}6 +\nFailed requests: +0 +\n/);
  expect(stdout).toMatch(
    /\nMaximum request concurrency: +2 +\n(.*\n)*Total input tokens: +30 +\nTotal generated tokens: +24 +\n/,
  );
  expect(stdout).toMatch(/\nP99 ITL \(ms\): +\d+\.\d\d +\n=+\n$/);
  expect(model.calls).toHaveLength(7);
  for (const { params } of model.calls) expect(params).toMatchObject({ maxTokens: 4, ignoreEos: true });
});

test("--json prints the result, --save-result keeps it", async () => {
  const file = ["--save-result", "--result-dir", join(folder, "new"), "--result-filename", "result.json"];
  const args = ["--json", ...file, "--save-detailed", "--metadata", "gpu=none", "--temperature", "0", "--seed", "3"];
  const { code, stdout } = await bench(...small, ...args, "--request-rate", "200", "--goodput", "ttft:60000");
  expect(code).toBe(0);
  expect(readFileSync(join(folder, "new", "result.json"), "utf8")).toBe(stdout);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({
    ...{ completed: 6, failed: 0, total_input_tokens: 30, total_output_tokens: 24, model_id: "fake-mamba" },
    ...{ request_rate: 200, gpu: "none", requests_without_usage: 0, output_lens: new Array(6).fill(4) },
  });
  expect(result.request_goodput).toBe(result.request_throughput);
  expect(result.itls.flat()).toHaveLength(18);
  expect(result.generated_texts[0]).not.toBe("");
  expect(model.calls[0]!.params.temperature).toBe(0);
  // Over several connections, so in any order.
  const prompts = () =>
    model.calls
      .splice(0)
      .map(({ prompt }) => JSON.stringify(prompt))
      .sort();
  const first = prompts();
  await bench(...small, "--seed", "3");
  expect(prompts()).toEqual(first);
});

test("chats from a file, at a URL as OpenAI's clients take it", async () => {
  const path = join(folder, "prompts.jsonl");
  writeFileSync(path, '{"prompt": "a river", "output_tokens": 3}\n{"prompt": "a stone", "output_tokens": 5}\n');
  const data = ["--dataset-name", "custom", "--dataset-path", path, "--num-prompts", "2", "--disable-shuffle"];
  const order = ["--max-concurrency", "1"];
  const args = [
    "--base-url",
    `${server.url}/v1/`,
    "--backend",
    "openai-chat",
    ...data,
    ...order,
    "--ignore-eos",
    "--json",
  ];
  const { code, stdout } = await run(["bench", "serve", ...args]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ completed: 2, total_output_tokens: 8, tokenizer_id: null });
  expect(model.calls.map(({ prompt }) => prompt)).toEqual([
    [{ role: "user", content: "a river" }],
    [{ role: "user", content: "a stone" }],
  ]);
});

test("a tokenizer's directory gives random text for chats", async () => {
  const args = [
    "--backend",
    "openai-chat",
    "--tokenizer",
    "storyteller-6m",
    "--num-prompts",
    "2",
    "--random-input-len",
    "8",
  ];
  const { code, stdout } = await bench(...args, "--random-output-len", "2", "--json");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ completed: 2, tokenizer_id: "storyteller-6m" });
});

test("all requests failed: exit code 1, and why", async () => {
  const { code, stdout, stderr } = await bench(...small, "--vocab-size", "1000000");
  expect(code).toBe(1);
  expect(stdout).toContain("Failed requests:                         6");
  expect(stderr).toMatch(/^failed, 6 x: HTTP 400 Bad Request: prompt\[\d\]: expected a token id/m);
});

test.each([
  [
    { prompt_tokens: 5, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 4 } },
    "note: 12 of 15 input tokens came from the server's cache\n",
  ],
  [undefined, "note: no usage came with 3 answers; each piece of text in them counts as one token\n"],
])("what the table has no row for is told: usage %j", async (usage, note) => {
  const other = createServer((request, response) => {
    const frame = { choices: [{ text: "a", finish_reason: "stop" }], usage };
    request.resume().on("end", () => response.end(`data: ${JSON.stringify(frame)}\n\ndata: [DONE]\n\n`));
  }).listen(0, "127.0.0.1");
  await once(other, "listening");
  const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  const { code, stderr } = await run([
    "bench",
    "serve",
    "--base-url",
    url,
    "--model",
    "m",
    ...small,
    "--num-prompts",
    "3",
  ]);
  other.close();
  expect(code).toBe(0);
  expect(stderr).toContain(note);
});

test("a folder that cannot be made is told before anything is sent", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  const { code, stderr } = await bench(...small, "--save-result", "--result-dir", join(file, "below"));
  expect(code).toBe(1);
  expect(stderr).toMatch(/^error: .*below cannot be written: .*ENOTDIR.* \(ERR_IO\)\n$/);
  expect(model.calls).toEqual([]);
});

test("no server", async () => {
  const { code, stdout, stderr } = await run(["bench", "serve", "--base-url", "http://127.0.0.1:1"]);
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr).toMatch(/^error: http:\/\/127\.0\.0\.1:1\/v1\/models: .*; check --base-url.* \(ERR_IO\)\n$/);
});
