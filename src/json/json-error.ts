/** Line and column count from 1, the offset in UTF-16 units from 0. */
export interface JsonPlace {
  readonly line: number;
  readonly column: number;
  readonly offset: number;
}

/** Where a text is no JSON, or more than the limits allow. */
export class JsonError extends Error implements JsonPlace {
  readonly line: number;
  readonly column: number;
  readonly offset: number;

  constructor(message: string, { line, column, offset }: JsonPlace) {
    super(`${message} at line ${line}, column ${column}`);
    this.name = "JsonError";
    this.line = line;
    this.column = column;
    this.offset = offset;
  }
}

/** The place of text[at], where `start` is that of text[0]. */
export function placeIn(text: string, at: number, start: JsonPlace): JsonPlace {
  let lines = 0;
  let lastBreak = -1;
  for (let i = text.indexOf("\n"); i >= 0 && i < at; i = text.indexOf("\n", i + 1)) {
    lines++;
    lastBreak = i;
  }
  const column = lines === 0 ? start.column + at : at - lastBreak;
  return { line: start.line + lines, column, offset: start.offset + at };
}
