import { hasPairs, lengthOf, spaceRun, strip, unitIndex } from "./characters";
import { toIndex } from "./operators";
import { runtimeError, type Value } from "./values";

/** Finding and cutting within a str. */

/** The part of the text that a search from `start` to `stop` sees, in UTF-16 units; null where there is none. */
export function window(text: string, start: Value | undefined, stop: Value | undefined): [number, number] | null {
  const length = lengthOf(text);
  const bound = (value: Value | undefined, otherwise: number) => {
    if (value === undefined || value === null) return otherwise;
    const index = toIndex(value);
    return Math.min(index < 0 ? Math.max(0, index + length) : index, index < 0 ? length : Number.MAX_SAFE_INTEGER);
  };
  const from = bound(start, 0);
  const to = Math.min(bound(stop, length), length);
  return from > to ? null : [unitIndex(text, from), unitIndex(text, to)];
}

export function split(text: string, separator: string | null, limit: number, fromRight: boolean): string[] {
  if (separator === "") throw runtimeError("empty separator");
  const most = limit < 0 ? Number.MAX_SAFE_INTEGER : limit;
  if (separator === null) return splitSpace(text, most, fromRight);
  const parts = text.split(separator);
  if (parts.length - 1 <= most) return parts;
  return fromRight
    ? [parts.slice(0, parts.length - most).join(separator), ...parts.slice(parts.length - most)]
    : [...parts.slice(0, most), parts.slice(most).join(separator)];
}

function splitSpace(text: string, most: number, fromRight: boolean): string[] {
  const trimmed = strip(text, null, true, true);
  if (trimmed === "") return [];
  const runs = [...trimmed.matchAll(spaceRun)];
  const cuts = fromRight ? runs.slice(Math.max(0, runs.length - most)) : runs.slice(0, most);
  const parts: string[] = [];
  let start = 0;
  for (const cut of cuts) {
    parts.push(trimmed.slice(start, cut.index));
    start = cut.index + cut[0].length;
  }
  parts.push(trimmed.slice(start));
  // What is not cut keeps the space at its outer side.
  if (parts.length > most && !fromRight) parts[parts.length - 1] = strip(text, null, true, false).slice(start);
  if (parts.length > most && fromRight) parts[0] = strip(text, null, false, true).slice(0, -trimmed.length) + parts[0]!;
  return parts;
}

export function replace(text: string, old: string, replacement: string, limit: number): string {
  if (limit === 0) return text;
  const most = limit < 0 ? Number.MAX_SAFE_INTEGER : limit;
  if (old === "") {
    const all = hasPairs(text) ? [...text] : text.split("");
    let result = "";
    all.forEach((character, index) => {
      result += index < most ? replacement + character : character;
    });
    return all.length < most ? result + replacement : result;
  }
  if (limit < 0) return text.replaceAll(old, () => replacement);
  return split(text, old, most, false).join(replacement);
}
