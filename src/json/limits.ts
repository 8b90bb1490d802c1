export interface JsonLimits {
  /** Lists and objects within each other. What reads the value may then recurse. */
  readonly depth: number;
  /** Lists and objects in all: each takes some 50 bytes, however few it had in the text. */
  readonly containers: number;
  /** Keys of one object, equal ones counted again: a table of very many grows in one go. */
  readonly keys: number;
}

export const defaultJsonLimits: JsonLimits = { depth: 200, containers: 1 << 17, keys: 1 << 17 };
