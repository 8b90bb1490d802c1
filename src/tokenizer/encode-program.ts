/** What the process that encodes long texts runs. */
import { Tokenizer } from "@huggingface/tokenizers";
import type { SandboxProgram } from "./sandbox/child";

export type Variant = "full" | "plain";

export interface EncodeData extends Readonly<Record<Variant, string>> {
  readonly config: object;
}

export interface EncodeJob {
  readonly variant: Variant;
  readonly parts: readonly string[];
}

export const start: SandboxProgram<EncodeData, EncodeJob, Int32Array> = (data) => {
  const built: Partial<Record<Variant, Tokenizer>> = {};
  return ({ variant, parts }) => {
    built[variant] ??= new Tokenizer(JSON.parse(data[variant]), data.config);
    const tokenizer = built[variant];
    return Int32Array.from(parts.flatMap((part) => tokenizer.encode(part, { add_special_tokens: false }).ids));
  };
};
