/** Files in GGUF as llama.cpp's converter writes them of a checkpoint of Hugging Face. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigFile } from "../../src/models/config/json-file";
import { Checkpoint } from "../../src/weights/checkpoint";
import { fromBits } from "../../src/weights/float-bits";
import { readPart } from "../../src/weights/read-part";
import { toBf16, toF16 } from "./bits";
import { families } from "./gguf-families";
import type { Rule, Values } from "./gguf-rules";
import { type GgufTensorType, GgufWriter } from "./gguf-writer";

/** Values as a type has them. */
export type Encode = (values: Float32Array, shape: readonly number[]) => ArrayBufferView;

export const encoders: Readonly<Partial<Record<GgufTensorType, Encode>>> = {
  F32: (values) => values,
  F16: (values) => Uint16Array.from(values, toF16),
  BF16: (values) => Uint16Array.from(values, toBf16),
};

export interface GgufOptions {
  /** Type of matrices with more than one row; all else is F32. */
  readonly type: (name: string, shape: readonly number[]) => readonly [type: GgufTensorType, encode: Encode];
  /** Adds a tokenizer; none by default. */
  readonly tokenizer?: (writer: GgufWriter) => void;
}

export const floatType =
  (type: "F32" | "F16" | "BF16"): GgufOptions["type"] =>
  () => [type, encoders[type]!];

/** A checkpoint's file in GGUF. Fails for a tensor that no rule knows. */
export function ggufOf(dir: string, { type, tokenizer = () => {} }: GgufOptions): GgufWriter {
  const config = ConfigFile.read(join(dir, "config.json")).value;
  const family = families[config.model_type as string]!;
  const checkpoint = Checkpoint.open(dir);
  const writer = new GgufWriter();
  writer.key("general.architecture", "string", family.architecture);
  for (const [name, { type: kind, value }] of Object.entries(family.keys(config))) {
    if (value !== undefined) writer.key(`${family.architecture}.${name}`, kind, value);
  }
  tokenizer(writer);
  const rules = family.rules(config);
  for (const name of checkpoint.names()) {
    const { file, offset, bytes, dtype, shape } = checkpoint.entry(name);
    const values = fromBits(readPart({ file, offset, bytes }).buffer, dtype.toLowerCase() as "f32" | "bf16" | "f16");
    for (const [converted, tensor] of Object.entries(apply(rules, name, { shape, values }))) {
      const isMatrix = tensor.shape.length > 1 && /(?<!conv1d|norm|gate_inp|inp_shexp)\.weight$/.test(converted);
      const [kind, encode] = isMatrix ? type(converted, tensor.shape) : (["F32", encoders.F32!] as const);
      writer.tensor(converted, kind, tensor.shape, encode(tensor.values, tensor.shape));
    }
  }
  return writer;
}

function apply(rules: readonly Rule[], name: string, tensor: Values): Readonly<Record<string, Values>> {
  for (const [pattern, convert] of rules) {
    const match = pattern.exec(name);
    if (match !== null) return convert(`blk.${match[1]}.`, tensor);
  }
  throw new Error(`no rule for ${name}`);
}

/** The tokenizer of a directory with byte-level BPE, as llama.cpp's converter writes it. */
export function ggufTokenizer(dir: string, vocabSize: number, pre: string): (writer: GgufWriter) => void {
  const read = (name: string) => JSON.parse(readFileSync(join(dir, name), "utf8"));
  const { model, added_tokens: added } = read("tokenizer.json") as {
    model: { vocab: Record<string, number>; merges: (string | [string, string])[] };
    added_tokens: { id: number; content: string; special: boolean }[];
  };
  const config = read("tokenizer_config.json") as Record<string, string>;
  const tokens = Array.from({ length: vocabSize }, (_, i) => `[PAD${i}]`);
  const kinds = new Array<number>(vocabSize).fill(5);
  for (const [token, id] of Object.entries(model.vocab)) [tokens[id], kinds[id]] = [token, 1];
  for (const { id, content, special } of added) [tokens[id], kinds[id]] = [content, special ? 3 : 4];
  const idOf = (name: string) => tokens.indexOf(config[name]!);
  return (writer) => {
    writer.key("tokenizer.ggml.model", "string", "gpt2");
    writer.key("tokenizer.ggml.pre", "string", pre);
    writer.list("tokenizer.ggml.tokens", "string", tokens);
    writer.list("tokenizer.ggml.token_type", "int32", kinds);
    const merges = model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" ")));
    writer.list("tokenizer.ggml.merges", "string", merges);
    writer.key("tokenizer.ggml.bos_token_id", "uint32", idOf("bos_token"));
    writer.key("tokenizer.ggml.eos_token_id", "uint32", idOf("eos_token"));
    if (config.pad_token !== undefined) writer.key("tokenizer.ggml.padding_token_id", "uint32", idOf("pad_token"));
    writer.key("tokenizer.ggml.add_bos_token", "bool", false);
    if (config.chat_template !== undefined) writer.key("tokenizer.chat_template", "string", config.chat_template);
  };
}
