/** Changes valid files into ones that nobody would write: bytes, numbers, words and JSON values. */
import type { Rng } from "../helpers/rng";

export const pick = <T>(rng: Rng, list: readonly T[]): T => list[rng.integer(0, list.length - 1)]!;

/** Numbers at which readers go wrong, as a file spells them. */
const numbers = (
  "0 -1 1 -0 0.5 7 8 255 256 65535 65536 1e3 1e308 -1e308 1e-320 1e999 2147483647 2147483648 4294967295 4294967296 " +
  "9007199254740991 9007199254740992 9223372036854775807 18446744073709551615 99999999999999999999999999 NaN Infinity"
).split(" ");

const words = [
  ...'null true false {} [] "" , : { } [ ] " \\ \\u0000 \\ud800 __proto__ constructor toString length'.split(" "),
  '{"__float__":"NaN"}',
  "\u0000",
  "\uFEFF",
  "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
  "a".repeat(5000),
];

/** One change of bytes within the first `reach`; `other` is a file of the same name that pieces may come from. */
export function mutateBytes(bytes: Buffer, other: Buffer, rng: Rng, reach = bytes.length): Buffer {
  const at = () => rng.integer(0, Math.min(reach, bytes.length));
  const range = (most: number) => {
    const start = at();
    return [start, Math.min(bytes.length, start + rng.integer(1, most))] as const;
  };
  const replaced = (start: number, end: number, piece: Buffer) =>
    Buffer.concat([bytes.subarray(0, start), piece, bytes.subarray(end)]);
  switch (rng.integer(0, 8)) {
    case 0: {
      const copy = Buffer.from(bytes);
      for (let i = rng.integer(1, 4); i > 0 && copy.length > 0; i--)
        copy[Math.min(at(), copy.length - 1)]! ^= 1 << rng.integer(0, 7);
      return copy;
    }
    case 1:
      return replaced(
        ...range(4),
        Buffer.from([pick(rng, [0, 1, 0x7f, 0x80, 0xff, 0x22, 0x7b, 0x5c]), rng.integer(0, 255)]),
      );
    case 2:
      return replaced(...range(64), Buffer.alloc(0));
    case 3: {
      const [start, end] = range(200);
      return replaced(start, start, bytes.subarray(start, end));
    }
    case 4:
      return bytes.subarray(0, at());
    case 5: {
      const from = rng.integer(0, other.length);
      return replaced(...range(100), other.subarray(from, from + rng.integer(1, 200)));
    }
    case 6:
      return replaceNumber(bytes, rng, reach);
    case 7: {
      const start = at();
      return replaced(start, start, Buffer.from(pick(rng, words)));
    }
    default: {
      const [start, end] = range(40);
      return replaced(start, end, Buffer.from(bytes.subarray(start, end)).reverse());
    }
  }
}

/** Another number in the place of one that is written in digits. */
function replaceNumber(bytes: Buffer, rng: Rng, reach: number): Buffer {
  const text = bytes.subarray(0, reach).toString("latin1");
  const found = [...text.matchAll(/-?\d[\d.eE+-]*/g)];
  if (found.length === 0) return bytes;
  const { 0: old, index } = pick(rng, found);
  const near = String(Number(old) + rng.integer(-2, 2));
  const piece = Buffer.from(rng.next() < 0.3 ? near : pick(rng, numbers));
  return Buffer.concat([bytes.subarray(0, index), piece, bytes.subarray(index + old.length)]);
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** One value of a JSON text replaced, left out, moved or doubled; null where the text is no JSON of values within values. */
export function mutateJson(text: string, rng: Rng): string | null {
  let root: Json;
  try {
    root = JSON.parse(text) as Json;
  } catch {
    return null;
  }
  const parents: (Json[] | { [key: string]: Json })[] = [];
  const visit = (value: Json) => {
    if (typeof value !== "object" || value === null) return;
    if (Object.keys(value).length > 0) parents.push(value);
    // A few of a vocabulary of thousands are enough.
    for (const inner of Object.values(value).slice(0, 64)) visit(inner);
  };
  visit(root);
  if (parents.length === 0) return null;
  const parent = pick(rng, parents) as { [key: string]: Json };
  const key = pick(rng, Object.keys(parent));
  const value = parent[key]!;
  switch (rng.integer(0, 5)) {
    case 0:
      if (Array.isArray(parent)) parent.splice(Number(key), 1);
      else delete parent[key];
      break;
    case 1: {
      const source = pick(rng, parents) as { [key: string]: Json };
      parent[key] = structuredClone(pick(rng, Object.values(source)));
      break;
    }
    case 2:
      parent[pick(rng, ["__proto__x", "", "extra", `${key}2`, ...Object.keys(parent)])] = structuredClone(value);
      break;
    case 3:
      parent[key] = typeof value === "string" ? value + pick(rng, words) : [value, value];
      break;
    default:
      parent[key] = strange(value, rng);
  }
  return JSON.stringify(root);
}

/** A value in the place of another, mostly of its own type. */
function strange(value: Json, rng: Rng): Json {
  if (typeof value === "number" && rng.next() < 0.7) {
    const number = rng.next() < 0.4 ? value + rng.integer(-2, 2) : Number(pick(rng, numbers));
    return Number.isFinite(number) ? number : 1e300;
  }
  if (typeof value === "boolean" && rng.next() < 0.7) return !value;
  return pick<Json>(rng, [
    null,
    true,
    false,
    0,
    -1,
    1.5,
    2 ** 40,
    "",
    "x",
    "\ud800",
    "(",
    "[",
    "a+$",
    [],
    {},
    [[]],
    { type: "x" },
  ]);
}
