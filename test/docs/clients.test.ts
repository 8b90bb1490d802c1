/** Runs the code of docs/clients.md and README.md as it stands there, but for the address. */
import { execFile, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { transformSync } from "@swc/core";
import { type RunningServer, serve } from "../../src/server/serve";
import { FakeLanguageModel } from "../helpers/fake-language-model";

const root = join(__dirname, "..", "..");
const page = readFileSync(join(root, "docs", "clients.md"), "utf8");
const readme = readFileSync(join(root, "README.md"), "utf8");

/** The code of a language, each with the heading above it. */
function snippets(text: string, language: string): [title: string, code: string][] {
  const fences = text.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, "gm"));
  return [...fences].map(({ 1: code, index }) => [
    text
      .slice(0, index)
      .match(/^#+ .*$/gm)!
      .at(-1)!,
    code!,
  ]);
}

let server: RunningServer;
let model: FakeLanguageModel;
beforeEach(async () => {
  model = new FakeLanguageModel({ id: "storyteller-6m" });
  server = await serve(model, { port: 0, apiKeys: ["none"], drainTimeoutMs: 0 });
});
afterEach(() => server.close());

const here = (code: string) => code.replaceAll("http://127.0.0.1:8000", server.url);

/** What a module prints. */
async function printedBy(typescript: string): Promise<string> {
  const { code } = transformSync(here(typescript), {
    jsc: { parser: { syntax: "typescript" }, target: "es2022" },
    module: { type: "commonjs" },
  });
  let printed = "";
  const print = (value: unknown) => {
    printed += typeof value === "string" ? value : JSON.stringify(value);
  };
  const AsyncFunction = (async () => {}).constructor as new (
    ...args: string[]
  ) => (...args: unknown[]) => Promise<void>;
  const run = new AsyncFunction("require", "exports", "process", "console", code);
  await run(require, {}, { stdout: { write: print } }, { log: print });
  return printed;
}

const text = /river|stone|falls|light|water|moves|trees|slow/;

it.each([...snippets(page, "ts"), ...snippets(readme, "ts").filter(([, code]) => code.includes("127.0.0.1"))])(
  "%s",
  async (_, code) => {
    const printed = await printedBy(code);
    expect(printed).toMatch(text);
    if (code.includes("chema")) expect(printed).toMatch(/\{"name":"\w+"\}$/);
    expect(model.calls.length).toBeGreaterThan(0);
  },
);

it("has the clients that are promised", () => {
  const titles = snippets(page, "ts").map(([title]) => title);
  expect(titles).toEqual(["## openai, TypeScript", "## LangChain", "## AI SDK"]);
});

const run = promisify(execFile);

it.each(snippets(page, "sh"))("%s", async (_, command) => {
  const { stdout } = await run("bash", ["-c", here(command)]);
  expect(stdout).toMatch(text);
  expect(stdout).toMatch(command.includes('"stream": true') ? /^data: [\s\S]*data: \[DONE\]\n+$/ : /^\{.*\}$/);
});

const hasPython = spawnSync("python3", ["-c", "import openai"]).status === 0;
if (!hasPython) process.stderr.write("openai, Python: skipped: pip install openai\n");
(hasPython ? it : it.skip).each(snippets(page, "python"))("%s", async (_, code) => {
  const { stdout } = await run("python3", ["-c", here(code)]);
  expect(stdout).toMatch(text);
  expect(model.calls[0]!.params).toMatchObject({ topK: 20 });
});
