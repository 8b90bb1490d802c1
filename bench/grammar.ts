// Times masks on one model's tokens, on JSON as models write it; prints a JSON line for each constraint.
// node -r ./test/helpers/register.js bench/grammar.ts [MODEL_DIR]
import { join } from "node:path";
import { type Constraint, compileConstraint } from "../src/grammar/compile";
import type { TokenConstraint } from "../src/grammar/constraint";
import { TokenTrie } from "../src/grammar/token-trie";
import { Tokenizer } from "../src/tokenizer/tokenizer";

const ROUNDS = 20;

const people = Array.from({ length: 12 }, (_, i) => ({
  name: `Ann-Sophie "${"Aleksandra ".repeat(i % 3)}"`,
  age: 7 * i,
  score: i / 8,
  email: i % 2 === 0 ? null : `someone.${i}@example.com`,
  tags: ["brave", "small", "of the king"].slice(0, i % 4),
  address: { street: `The long road ${i}, behind the märchen wood`, zip: String(10_000 + 321 * i) },
}));
const person = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 1, maxLength: 60 },
    age: { type: "integer", minimum: 0, maximum: 130 },
    score: { type: "number", minimum: 0, maximum: 2 },
    email: { anyOf: [{ type: "string", format: "email" }, { type: "null" }] },
    tags: { type: "array", items: { type: "string" }, maxItems: 5 },
    address: { $ref: "#/$defs/address" },
  },
  required: ["name", "age", "address"],
};
const schema = {
  type: "object",
  properties: { people: { type: "array", items: person } },
  required: ["people"],
  $defs: {
    address: {
      type: "object",
      properties: { street: { type: "string" }, zip: { type: "string", pattern: "^[0-9]{5}$" } },
      required: ["street", "zip"],
    },
  },
};

const json = [0, 2].map((indent) => JSON.stringify({ people }, null, indent));
const cases: readonly [name: string, constraint: Constraint, texts: readonly string[]][] = [
  ["json_object", { kind: "json_object" }, json],
  ["json_schema", { kind: "json_schema", schema }, json],
  [
    "regex",
    { kind: "regex", pattern: "(?:[A-Za-z]+[,.]? ){1,80}" },
    ["Once upon a time, there was a king. ".repeat(4)],
  ],
  ["choice", { kind: "choice", choices: ["positive", "negative", "neutral"] }, ["positive", "neutral"]],
];

/** The longest token at each place, as a tokenizer mostly has it. */
function tokensOf(trie: TokenTrie, text: string): number[] {
  const byText = new Map<string, number>();
  for (let id = 0; id < trie.size; id++) byText.set(Buffer.from(trie.bytes(id)).toString("latin1"), id);
  const bytes = Buffer.from(text).toString("latin1");
  const ids: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    let length = Math.min(trie.longest, bytes.length - at);
    while (length > 1 && !byText.has(bytes.slice(at, at + length))) length--;
    ids.push(byText.get(bytes.slice(at, at + length))!);
    at += length;
  }
  return ids;
}

interface Times {
  readonly mask: number[];
  readonly accept: number[];
}

function read(constraint: TokenConstraint, texts: readonly (readonly number[])[], { mask, accept }: Times): void {
  const words = new Int32Array(constraint.words);
  for (const ids of texts) {
    const state = constraint.start();
    for (const id of ids) {
      const begin = performance.now();
      state.mask(words);
      const masked = performance.now();
      const accepted = state.accept(id);
      accept.push(performance.now() - masked);
      mask.push(masked - begin);
      if (!accepted || !((words[id >> 5]! >>> (id & 31)) & 1)) throw new Error(`token ${id} is not allowed`);
    }
  }
}

/** Microseconds. */
function summary(times: readonly number[]) {
  const sorted = times.map((ms) => 1e3 * ms).sort((a, b) => a - b);
  const rounded = (us: number) => Math.round(10 * us) / 10;
  const mean = sorted.reduce((sum, us) => sum + us, 0) / sorted.length;
  return { mean: rounded(mean), p99: rounded(sorted[Math.floor(0.99 * sorted.length)]!), max: rounded(sorted.at(-1)!) };
}

const dir = process.argv[2] ?? join(__dirname, "../models/storyteller-6m");
const tokenizer = Tokenizer.load(dir);
const source = {
  size: tokenizer.vocabSize,
  bytes: (id: number) => tokenizer.tokenBytes(id),
  specialIds: tokenizer.specialIds,
  endIds: tokenizer.eosTokenIds,
};
for (const [name, constraint, texts] of cases) {
  const begin = performance.now();
  const trie = new TokenTrie(source);
  const trieMs = performance.now() - begin;
  const ids = texts.map((text) => tokensOf(trie, text));
  const times = (): Times => ({ mask: [], accept: [] });
  // The first request of a process, then others with schemas of their own, then one schema over and over.
  const [first, compiledAgain, same] = [times(), times(), times()];
  read(compileConstraint(constraint, trie), ids, first);
  const compileMs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    const compiled = compileConstraint(constraint, trie);
    compileMs.push(performance.now() - start);
    read(compiled, ids, compiledAgain);
    read(compiled, ids, same);
  }
  const line = {
    constraint: name,
    vocabulary: tokenizer.vocabSize,
    trie_ms: Math.round(trieMs),
    tokens: ids.flat().length,
    compile_us: summary(compileMs),
    first_mask_us: summary(first.mask),
    mask_us: summary(compiledAgain.mask),
    mask_again_us: summary(same.mask),
    accept_us: summary(compiledAgain.accept),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
