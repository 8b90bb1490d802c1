/** What the process that encodes long texts runs. */
import { Tokenizer } from "tokenizers";
import { encodeParts } from "./encode-parts";
import type { SandboxProgram } from "./sandbox/child";

/** A tokenizer.json. */
export type EncodeData = string;

/** The parts of a text, between which no token reaches. */
export type EncodeJob = readonly string[];

export const start: SandboxProgram<EncodeData, EncodeJob, Int32Array> = (json) => {
  const tokenizer = Tokenizer.fromString(json);
  return async (parts) => Int32Array.from(await encodeParts(tokenizer, parts));
};
