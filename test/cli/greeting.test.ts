import { join } from "node:path";
import { greeting } from "../../src/cli/greeting";
import { LLM } from "../../src/llm/llm";

const load = (name: string) =>
  LLM.load(join(__dirname, "..", "golden", name), { loadFormat: "dummy", maxNumSeqs: 3, maxModelLen: 100 });

test.each([
  ["mamba2", null],
  ["bamba", "6 pages of 64 tokens: 384 tokens of all sequences together"],
])("the memory of %s: the pages of its KV cache are %s", async (name, pages) => {
  const llm = await load(name);
  const text = await greeting(llm, "http://127.0.0.1:8000", {});
  await llm.close();
  expect(/^kv cache +\d\S* \w+ for (.*)$/m.exec(text)?.[1] ?? null).toBe(pages);
  expect(text).toMatch(/^states +\d\S* \w+ for 3 sequences at once of up to 100 tokens$/m);
});
