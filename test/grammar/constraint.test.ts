import fc from "fast-check";
import { type Constraint, compileConstraint } from "../../src/grammar/compile";
import { ConstraintCache } from "../../src/grammar/constraint-cache";
import { TokenTrie } from "../../src/grammar/token-trie";
import { Rng } from "../helpers/rng";
import { schema } from "./random-schemas";
import { after, allowed, crossing, storyteller } from "./walks";

const person = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 12 },
    tags: { type: "array", items: { enum: ["a", "bb"] } },
    n: { type: "number" },
  },
  required: ["name"],
};
const constraints: readonly Constraint[] = [
  { kind: "json_object" },
  { kind: "json_schema", schema: person },
  { kind: "json_schema", schema: {} },
  { kind: "regex", pattern: "(the|a|日本)( \\w+){0,5}\\." },
  { kind: "choice", choices: ["true", "truly", "null"] },
];

/** A mask allows a token exactly if its bytes can be written one after the other, each as a token of its own. */
function expectMaskOfBytes(trie: TokenTrie, constraint: Constraint, rng: Rng, tokens: number): void {
  const state = compileConstraint(constraint, trie).start();
  for (let i = 0; i < tokens; i++) {
    const ids = allowed(trie, state);
    const byBytes: number[] = [];
    for (let id = 0; id < trie.size; id++) {
      const bytes = trie.bytes(id);
      if (bytes.length > 0 ? after(trie, state, bytes) !== null : trie.endIds.includes(id) && state.isComplete)
        byBytes.push(id);
    }
    expect(ids).toEqual(byBytes);
    const next = ids.filter((id) => !trie.endIds.includes(id));
    expect(next.length > 0 || state.isComplete).toBe(true);
    if (next.length === 0) return;
    // Longer tokens more often: they cross the borders.
    const long = next.filter((id) => trie.bytes(id).length > 1);
    const from = long.length > 0 && rng.next() < 0.7 ? long : next;
    expect(state.accept(from[rng.integer(0, from.length - 1)]!)).toBe(true);
  }
}

test.each(constraints.map((constraint) => ({ name: JSON.stringify(constraint).slice(0, 60), constraint })))(
  "the mask of each state is what its bytes allow: $name",
  ({ constraint }) => {
    const rng = new Rng(9);
    for (let i = 0; i < 5; i++) expectMaskOfBytes(crossing, constraint, rng, 20);
  },
);

test("a list that cannot have enough different items is not begun", () => {
  const pair = { type: "array", items: { type: "null" }, uniqueItems: true, minItems: 2 };
  const schema = { type: "object", properties: { a: { type: "string" } }, additionalProperties: pair };
  const start = compileConstraint({ kind: "json_schema", schema }, crossing).start();
  expect(after(crossing, start, '{"a":"b"}')?.isComplete).toBe(true);
  expect(after(crossing, start, '{"a":"b",')).toBeNull();
  expect(after(crossing, start, '{"b')).toBeNull();
});

test("the mask of each state is what its bytes allow, for random schemas", () => {
  fc.assert(
    fc.property(schema, fc.integer(), (of, seed) => {
      try {
        compileConstraint({ kind: "json_schema", schema: of as object }, crossing);
      } catch {
        fc.pre(false); // contradictory
      }
      expectMaskOfBytes(crossing, { kind: "json_schema", schema: of as object }, new Rng(seed), 12);
    }),
    { numRuns: 60, endOnFailure: true },
  );
});

test("the bundled model's tokens", () => {
  for (const constraint of constraints) expectMaskOfBytes(storyteller(), constraint, new Rng(4), 8);
});

test("special tokens and rows without a token are never allowed, tokens that end a text where it may end", () => {
  const { endIds } = crossing;
  const constraint = compileConstraint({ kind: "regex", pattern: "<?/?[a-z]*>?" }, crossing);
  const state = constraint.start();
  const special = [endIds[0]! - 1, ...[1, 2, 3].map((more) => endIds[0]! + more)];
  expect(allowed(crossing, state).filter((id) => special.includes(id) || endIds.includes(id))).toEqual(endIds);
  for (const id of [...special, -1, crossing.size + 5, 1.5]) expect([id, state.accept(id)]).toEqual([id, false]);
  const word = compileConstraint({ kind: "choice", choices: ["a"] }, crossing).start();
  expect([word.isComplete, word.accept(endIds[0]!)]).toEqual([false, false]);
  expect(word.accept(97)).toBe(true);
  expect([word.isComplete, word.isFinished, allowed(crossing, word), word.accept(endIds[0]!)]).toEqual([
    true,
    true,
    endIds,
    true,
  ]);
});

test("a refused token changes nothing, and copies go on by themselves", () => {
  const state = compileConstraint({ kind: "regex", pattern: "ab+c" }, crossing).start();
  state.accept(97);
  const before = allowed(crossing, state);
  expect([state.accept(97), allowed(crossing, state)]).toEqual([false, before]);
  const copy = state.copy();
  expect(["b", "c"].map((letter) => copy.accept(letter.charCodeAt(0)))).toEqual([true, true]);
  expect([copy.isComplete, state.isComplete, allowed(crossing, state)]).toEqual([true, false, before]);
});

test("a mask is written at its offset and nowhere else", () => {
  const constraint = compileConstraint({ kind: "choice", choices: ["a"] }, crossing);
  const words = new Int32Array(3 * constraint.words).fill(-1);
  constraint.start().mask(words, constraint.words);
  const part = (i: number) => [...words.subarray(i * constraint.words, (i + 1) * constraint.words)];
  expect([part(0), part(2)]).toEqual([part(0).map(() => -1), part(0).map(() => -1)]);
  expect(part(1)).toEqual(part(1).map((_, i) => (i === 97 >> 5 ? 1 << (97 & 31) : 0)));
});

test("all tokens that spell a text are allowed, and a trie may be empty", () => {
  const bytes = [..."aab"].map((letter) => new TextEncoder().encode(letter));
  const twice = new TokenTrie({
    size: 4,
    bytes: (id) => bytes[id] ?? new Uint8Array(),
    specialIds: new Set(),
    endIds: [3],
  });
  const state = compileConstraint({ kind: "regex", pattern: "a" }, twice).start();
  expect(allowed(twice, state)).toEqual([0, 1]);
  const empty = new TokenTrie({ size: 1, bytes: () => new Uint8Array(), specialIds: new Set(), endIds: [0] });
  expect(() => compileConstraint({ kind: "regex", pattern: "a" }, empty)).toThrow("the model's tokens");
  expect(allowed(empty, compileConstraint({ kind: "regex", pattern: "a?" }, empty).start())).toEqual([0]);
});

test("long texts go on in bounded memory", () => {
  const state = compileConstraint(
    { kind: "json_schema", schema: { type: "string", maxLength: 100_000 } },
    crossing,
  ).start();
  state.accept(0x22);
  for (let i = 0; i < 20_000; i++) expect(state.accept(97)).toBe(true);
  expect(state.accept(0x22)).toBe(true);
  expect(state.isFinished).toBe(true);
});

describe("caches", () => {
  test("equal constraints are compiled once, and those used last are kept", () => {
    const cache = new ConstraintCache(crossing);
    const first = cache.get({ kind: "json_schema", schema: person });
    expect(cache.get({ kind: "json_schema", schema: structuredClone(person) })).toBe(first);
    expect(cache.get({ kind: "json_object" })).not.toBe(first);
    expect(() => cache.get({ kind: "json_schema", schema: { type: "foo" } })).toThrow("type must be among");
    const two = new ConstraintCache(crossing, 2.5 * first.bytes);
    const made = ["a", "b"].map((pattern) => two.get({ kind: "regex", pattern }));
    two.get({ kind: "regex", pattern: "a" });
    two.get({ kind: "json_object" });
    expect([
      two.get({ kind: "regex", pattern: "a" }) === made[0],
      two.get({ kind: "regex", pattern: "b" }) === made[1],
    ]).toEqual([true, false]);
  });
});

test("lengths that are far away, and equal ones of another constraint, share their masks", () => {
  const stateOf = (maxLength: number, length: number) => {
    const constraint = compileConstraint({ kind: "json_schema", schema: { type: "string", maxLength } }, crossing);
    const state = after(crossing, constraint.start(), `"${"a".repeat(length)}`)!;
    return allowed(crossing, state);
  };
  const far = stateOf(1000, 3);
  const before = crossing.masks.calculatedSize;
  expect([stateOf(2000, 500), stateOf(1000, 900)]).toEqual([far, far]);
  // Masks of the two states' readings, and none of a rule.
  const readings = crossing.masks.calculatedSize - before;
  expect(readings).toBe(2 * (4 * crossing.words + 200));
  const near = stateOf(1000, 998);
  expect(near).not.toEqual(far);
  expect(stateOf(7, 5)).toEqual(near);
});
