import Ajv from "ajv/dist/2020";
import addFormats from "ajv-formats";
import { compileConstraint } from "../../src/grammar/compile";
import { Rng } from "../helpers/rng";
import { closedSchemas } from "./closed-schemas";
import { accepts, crossing, randomText } from "./walks";

const ajv = addFormats(new Ajv({ strict: false, logger: false, multipleOfPrecision: 9 }));

/** Values that are near to all of the schemas, none of which is of all. */
const seeds: readonly unknown[] = [
  ...["", "a", "ab-12", "b", "abcde", "é😀", 'quote"\\\n', "2024-02-29", "2023-02-29", "10.0.0.255", "10.0.0.256"],
  ..."f81d4fae-7dec-11d0-a765-00a0c91e6bf6 circle x".split(" "),
  ...[0, 1, -1, 2.25, 2.5, 3, 5, 7, 8, 10, 59, 60, 104, 105, -12, -13, 0.1, 12_345_678_901],
  ...[null, true, false, [], {}, [1, 2, 2], [null, 3], [7], [2, 1, 2], [1, "x"], [[]]],
  ...[{ a: 1 }, { a: null }, { b: "x" }, { n: 1, n2: 2 }, { a: 1, b: 2 }, { a: 1, b: 2, c: 3 }, { card: 1 }],
  ...[
    { card: 1, address: "" },
    { kind: "circle", radius: 1 },
    { kind: "a", size: 9 },
    { v: 1, next: null },
  ],
];

/** A value with one thing changed: an item or a member left out, doubled or swapped, or something within it. */
function changed(value: unknown, rng: Rng): unknown {
  const one = <T>(list: readonly T[]) => list[rng.integer(0, list.length - 1)]!;
  if (rng.next() < 0.15) return one(seeds);
  if (typeof value === "number")
    return one([value + 1, value - 1, -value, value + 0.25, value * 10, Math.trunc(value)]);
  if (typeof value === "string") {
    const characters = [...value];
    const at = rng.integer(0, characters.length);
    return [
      ...characters.slice(0, at),
      one(["", "a", "b", "é", "7", "-"]),
      ...characters.slice(at + rng.integer(0, 1)),
    ].join("");
  }
  if (Array.isArray(value)) {
    const at = rng.integer(0, value.length);
    const next =
      at < value.length && rng.next() < 0.5 ? [changed(value[at], rng)] : one([[], [one(seeds)], [value[at - 1] ?? 1]]);
    return [...value.slice(0, at), ...next, ...value.slice(at + rng.integer(0, 1))];
  }
  if (typeof value !== "object" || value === null) return one(seeds);
  const members = Object.entries(value);
  const at = rng.integer(0, members.length);
  const next =
    rng.next() < 0.4 ? [] : [[members[at]?.[0] ?? one(["z", "n1", "c"]), changed(members[at]?.[1], rng)] as const];
  return Object.fromEntries([...members.slice(0, at), ...next, ...members.slice(at + 1)]);
}

/** Numbers with an exponent or more than 15 digits are among the choices. */
const isWritten = (text: string) => !/\de[-+]|\d[\d.]{15}/.test(text);

test.each(closedSchemas)("%s: what is accepted is valid, and what is valid is accepted", (_, schema) => {
  const constraint = compileConstraint({ kind: "json_schema", schema }, crossing);
  const validate = ajv.compile(schema);
  const rng = new Rng(11);
  const made = Array.from({ length: 12 }, () => JSON.parse(randomText(crossing, constraint, rng, 15)) as unknown);
  const candidates = [...seeds, ...made];
  for (let i = 0; i < 150; i++) candidates.push(changed(candidates[rng.integer(0, candidates.length - 1)], rng));
  const texts = [...new Set(candidates.map((value) => JSON.stringify(value)))].filter(isWritten);
  const valid = texts.filter((text) => validate(JSON.parse(text)));
  expect(texts.filter((text) => accepts(crossing, constraint, text))).toEqual(valid);
  // Neither all nor nothing, or it would say nothing.
  expect(valid.length).toBeGreaterThan(0);
  expect(valid.length).toBeLessThan(texts.length);
});
