import type { AST } from "@eslint-community/regexpp";
import { type CodePoints, characters, codePoints, complement, MAX_CODE_POINT, type Range } from "./code-points";

const digits: CodePoints = [[0x30, 0x39]];
const wordCharacters = codePoints([...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]);
// As in JavaScript: white space and ends of lines.
const lineEnds = characters("\n\r\u2028\u2029");
const whiteSpace = codePoints([
  ...lineEnds,
  ...characters("\t\v\f \u00a0\u1680\u202f\u205f\u3000\ufeff"),
  [0x2000, 0x200a],
]);
/** What "." stands for. */
export const anyOfLine = complement(lineEnds);

const escapes = { digit: digits, space: whiteSpace, word: wordCharacters } as const;
const opposites = {
  digit: complement(digits),
  space: complement(whiteSpace),
  word: complement(wordCharacters),
} as const;

/** The code points of a class by its syntax tree; null for a class of strings. The same object for the same escape. */
export function classOf(node: AST.Character | AST.CharacterClass | AST.CharacterSet): CodePoints | null {
  switch (node.type) {
    case "Character":
      return codePoints([[node.value, node.value]]);
    case "CharacterClass":
      return bracketed(node);
    case "CharacterSet":
      if (node.kind === "any") return anyOfLine;
      if (node.kind === "property") return node.strings ? null : propertyOf(node.raw);
      return (node.negate ? opposites : escapes)[node.kind];
  }
}

function bracketed({ elements, negate }: AST.CharacterClass): CodePoints | null {
  const ranges: Range[] = [];
  for (const element of elements) {
    if (element.type === "CharacterClassRange") {
      ranges.push([element.min.value, element.max.value]);
    } else if (element.type === "Character" || element.type === "CharacterSet") {
      const set = classOf(element);
      if (set === null) return null;
      ranges.push(...set);
    } else {
      return null;
    }
  }
  const set = codePoints(ranges);
  return negate ? complement(set) : set;
}

const properties = new Map<string, CodePoints>();

/** Code points from `first` on, each of `units` UTF-16 units, as one text. */
interface Plane {
  readonly first: number;
  readonly units: number;
  readonly text: string;
}

let planes: readonly Plane[] | undefined;

/** All code points but surrogates. */
function allPlanes(): readonly Plane[] {
  planes ??= (
    [
      [0, 0xd7ff],
      [0xe000, 0xffff],
      [0x10000, MAX_CODE_POINT],
    ] as const
  ).map(([first, last]) => {
    const parts: string[] = [];
    for (let from = first; from <= last; from += 0x1000) {
      const length = Math.min(0x1000, last - from + 1);
      parts.push(String.fromCodePoint(...Array.from({ length }, (_, i) => from + i)));
    }
    return { first, units: first < 0x10000 ? 1 : 2, text: parts.join("") };
  });
  return planes;
}

/** Such as `\p{Letter}`: asks the engine's own tables, once for each property; there are some hundred. */
function propertyOf(source: string): CodePoints {
  let set = properties.get(source);
  if (set === undefined) {
    const runs = new RegExp(`${source}+`, "gu");
    set = codePoints(
      allPlanes().flatMap(({ first, units, text }) =>
        Array.from(text.matchAll(runs), ({ index, 0: run }): Range => {
          const low = first + index / units;
          return [low, low + run.length / units - 1];
        }),
      ),
    );
    properties.set(source, set);
  }
  return set;
}
