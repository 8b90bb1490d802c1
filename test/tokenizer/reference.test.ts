import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Tokenizer } from "../../src/tokenizer/tokenizer";
import { loadJson } from "./fixtures";

// What Python's tokenizers made of each text, by scripts/golden/make_tokenizers.py.
interface Reference {
  readonly texts: readonly string[];
  readonly cases: readonly {
    readonly name: string;
    readonly tokenizer: object;
    /** Ids, ids with what the post-processor adds, text without and with special tokens; null: as the one before. */
    readonly rows: readonly (readonly [number[], number[] | null, string, string | null])[];
  }[];
}

const { texts, cases }: Reference = JSON.parse(readFileSync(join(__dirname, "../golden/tokenizers.json"), "utf8"));

async function all(tokenizer: Tokenizer, text: string) {
  const ids = await tokenizer.encode(text, { addSpecialTokens: false });
  return [
    ids,
    await tokenizer.encode(text),
    tokenizer.decode(ids),
    tokenizer.decode(ids, { skipSpecialTokens: false }),
  ];
}

test.each(cases)("$name: ids and texts are Python's", async ({ tokenizer: json, rows }) => {
  const tokenizer = loadJson(json);
  for (const [index, [ids, framed, plain, raw]] of rows.entries()) {
    const expected = [ids, framed ?? ids, plain, raw ?? plain];
    expect([texts[index], ...(await all(tokenizer, texts[index]!))]).toEqual([texts[index], ...expected]);
  }
});
