import type { Option } from "commander";

type ParseList = (text: string, earlier: readonly string[] | undefined) => string[];

const listParsers = new WeakSet<object>();

/** Parses an option that may be given several times; `parse` looks at each value. */
export function listOf(parse: (text: string) => string): ParseList {
  const parseList: ParseList = (text, earlier) => [...(earlier ?? []), parse(text)];
  listParsers.add(parseList);
  return parseList;
}

export const listOfTexts = listOf((text) => text);

export const isList = ({ parseArg }: Option): boolean => parseArg !== undefined && listParsers.has(parseArg);
