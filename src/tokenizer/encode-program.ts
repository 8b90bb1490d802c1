/** What the process that encodes long texts runs. */
import { Tokenizer } from "tokenizers";
import { encodeParts } from "./encode-parts";
import type { SandboxProgram } from "./sandbox/child";

/** A tokenizer.json. */
export type EncodeData = string;

export interface EncodeJob {
  /** The parts of a text, between which no token reaches. */
  readonly parts: readonly string[];
  /** Only so many ids at the end are wanted, as millions take their time to another process. */
  readonly keepLast: number;
}

export const start: SandboxProgram<EncodeData, EncodeJob, Int32Array> = (json) => {
  const tokenizer = Tokenizer.fromString(json);
  return async ({ parts, keepLast }) => {
    const ids = await encodeParts(tokenizer, parts);
    return Int32Array.from(ids.length <= keepLast ? ids : ids.slice(-keepLast));
  };
};
