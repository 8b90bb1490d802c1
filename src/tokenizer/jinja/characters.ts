/** Strings as Python counts and classifies them: by code points. */

const astral = /[\ud800-\udbff][\udc00-\udfff]/;

/** Whether any character takes two UTF-16 units, so that positions differ between the languages. */
export function hasPairs(text: string): boolean {
  return astral.test(text);
}

export function lengthOf(text: string): number {
  if (!hasPairs(text)) return text.length;
  let length = 0;
  for (const _ of text) length++;
  return length;
}

/** The code points as an indexable sequence. */
export function points(text: string): string | string[] {
  return hasPairs(text) ? [...text] : text;
}

/** `text[start:stop]`, bounds in code points within the text. */
export function sliceText(text: string, start: number, stop: number): string {
  return hasPairs(text) ? [...text].slice(start, stop).join("") : text.slice(start, Math.max(start, stop));
}

/** The place of a UTF-16 index in code points. */
export function pointIndex(text: string, unit: number): number {
  return lengthOf(text.slice(0, unit));
}

/** The place of a code point in UTF-16 units. */
export function unitIndex(text: string, point: number): number {
  if (!hasPairs(text)) return Math.min(point, text.length);
  let unit = 0;
  for (let count = 0; count < point && unit < text.length; count++) {
    unit += text.codePointAt(unit)! > 0xffff ? 2 : 1;
  }
  return unit;
}

// U+001C to U+001F and U+0085 are space in Python, U+FEFF is not.
const SPACES = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
export const spaceRun = new RegExp(`[${SPACES}]+`, "g");
const onlySpace = new RegExp(`^[${SPACES}]+$`);
const spaceBefore = new RegExp(`^[${SPACES}]+`);
const spaceAfter = new RegExp(`[${SPACES}]+$`);

export const isSpace = (text: string) => onlySpace.test(text);

/** What `text.strip()` and its one-sided forms leave; `chars` null takes white space off. */
export function strip(text: string, chars: string | null, left: boolean, right: boolean): string {
  if (chars === null) {
    const begun = left ? text.replace(spaceBefore, "") : text;
    return right ? begun.replace(spaceAfter, "") : begun;
  }
  const set = new Set(chars);
  const all = points(text);
  let start = 0;
  let stop = all.length;
  while (left && start < stop && set.has(all[start]!)) start++;
  while (right && stop > start && set.has(all[stop - 1]!)) stop--;
  return typeof all === "string" ? all.slice(start, stop) : all.slice(start, stop).join("");
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: Python ends lines at them
const lineBreak = /\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]/g;

export function splitLines(text: string, keepEnds = false): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const match of text.matchAll(lineBreak)) {
    const end = match.index + match[0].length;
    lines.push(text.slice(start, keepEnds ? end : match.index));
    start = end;
  }
  if (start < text.length) lines.push(text.slice(start));
  return lines;
}

/** Letters whose form at the start of a word is no capital letter: Ǆ, Ǉ, Ǌ and Ǳ, and the Georgian ones. */
const titleForms: Readonly<Record<string, string>> = Object.fromEntries(
  ["ǄǅǆǅǇǈǉǈǊǋǌǋǱǲǳǲ"].flatMap((row) => {
    const letters = [...row];
    return [0, 4, 8, 12].flatMap((i) =>
      letters.slice(i, i + 3).map((letter): [string, string] => [letter, letters[i + 1]!]),
    );
  }),
);

/** The form of a character at the start of a word. */
export function titleCase(character: string): string {
  const known = titleForms[character];
  if (known !== undefined) return known;
  const code = character.codePointAt(0)!;
  if ((code >= 0x10d0 && code <= 0x10fa) || (code >= 0x10fd && code <= 0x10ff)) return character;
  // Greek letters with an iota below keep it there at the start of a word.
  if (code >= 0x1f80 && code <= 0x1ffc && iotaBelow.test(character)) return greekTitle(code, character);
  // Only the first letter of those in a ligature or in "ß" is a capital.
  let started = false;
  return [...character.toUpperCase()]
    .map((part) => {
      const small = started && isCased(part) && !/\p{M}/u.test(part);
      started ||= isCased(part);
      return small ? part.toLowerCase() : part;
    })
    .join("");
}

const iotaBelow = /[\u1f80-\u1faf\u1fb3\u1fbc\u1fc3\u1fcc\u1ff3\u1ffc]/;

function greekTitle(code: number, character: string): string {
  if (code <= 0x1faf) return String.fromCodePoint(code | 8);
  return { "\u1fb3": "\u1fbc", "\u1fc3": "\u1fcc", "\u1ff3": "\u1ffc" }[character] ?? character;
}

const cased = /[\p{Lowercase}\p{Uppercase}\p{Lt}]/u;

export const isCased = (character: string) => cased.test(character);

export function capitalize(text: string): string {
  const [first, ...rest] = [...text];
  return first === undefined ? "" : titleCase(first) + lowerAfter(first, rest.join(""));
}

/** `rest` in small letters as they are after `first`: a sigma at the end has its own form. */
function lowerAfter(first: string, rest: string): string {
  const before = first.toLowerCase();
  const whole = (first + rest).toLowerCase();
  return whole.startsWith(before) ? whole.slice(before.length) : rest.toLowerCase();
}

/** Each run of cased letters with a capital first. */
export function titleWords(text: string): string {
  let result = "";
  let word: string[] = [];
  const flush = () => {
    const [first, ...rest] = word;
    if (first !== undefined) result += titleCase(first) + lowerAfter(first, rest.join(""));
    word = [];
  };
  for (const character of text) {
    if (isCased(character)) {
      word.push(character);
    } else {
      flush();
      result += character;
    }
  }
  flush();
  return result;
}

// Categories Other and Separator, but the space itself.
const unprintable = /[\p{C}\p{Z}]/u;

export const isPrintable = (character: string) => character === " " || !unprintable.test(character);
