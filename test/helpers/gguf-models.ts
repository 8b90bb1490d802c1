/** Files in GGUF as llama.cpp's converter writes them of a checkpoint of Hugging Face: names, shapes and values of another kind. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigFile } from "../../src/models/config/json-file";
import { elementsOf } from "../../src/tensor/shape";
import { Checkpoint } from "../../src/weights/checkpoint";
import { fromBits } from "../../src/weights/float-bits";
import { readPart } from "../../src/weights/read-part";
import { toBf16, toF16 } from "./bits";
import { type GgufTensorType, GgufWriter } from "./gguf-writer";

export interface Values {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export type Config = Readonly<Record<string, unknown>>;

/** What a tensor becomes, by names of the file. */
type Rule = readonly [
  pattern: RegExp,
  convert: (match: RegExpExecArray, tensor: Values) => Readonly<Record<string, Values>>,
];

export interface Family {
  readonly architecture: string;
  /** Keys under the architecture's prefix. */
  keys(config: Config, set: (name: string, type: "uint32" | "float32" | "bool", value: number | boolean) => void): void;
  rules(config: Config): readonly Rule[];
}

const as = (name: string, shape: readonly number[], { values }: Values) => ({ [name]: { shape, values } });
const mapped = (tensor: Values, change: (value: number) => number): Values => ({
  ...tensor,
  values: tensor.values.map(change),
});

/** A mixer: squeezed taps, columns of A and D, a row of the norm for each group. */
function mixerRules(prefix: string, groups: number): Rule[] {
  const rule = (suffix: string, convert: (block: string, tensor: Values) => Record<string, Values>): Rule => [
    new RegExp(`^${prefix}${suffix}$`),
    ([, layer], tensor) => convert(`blk.${layer}.`, tensor),
  ];
  return [
    rule("in_proj\\.weight", (block, t) => as(`${block}ssm_in.weight`, t.shape, t)),
    rule("conv1d\\.weight", (block, t) => as(`${block}ssm_conv1d.weight`, [t.shape[0]!, t.shape[2]!], t)),
    rule("conv1d\\.bias", (block, t) => as(`${block}ssm_conv1d.bias`, t.shape, t)),
    rule("dt_bias", (block, t) => as(`${block}ssm_dt.bias`, t.shape, t)),
    rule("A_log", (block, t) =>
      as(
        `${block}ssm_a`,
        [t.shape[0]!, 1],
        mapped(t, (value) => -Math.exp(value)),
      ),
    ),
    rule("D", (block, t) => as(`${block}ssm_d`, [t.shape[0]!, 1], t)),
    rule("norm\\.weight", (block, t) => as(`${block}ssm_norm.weight`, [groups, elementsOf(t.shape) / groups], t)),
    rule("out_proj\\.weight", (block, t) => as(`${block}ssm_out.weight`, t.shape, t)),
  ];
}

const whole = (pattern: RegExp, name: string): Rule => [pattern, (_, tensor) => as(name, tensor.shape, tensor)];
const inBlock = (pattern: RegExp, name: string): Rule => [
  pattern,
  ([, layer], tensor) => as(`blk.${layer}.${name}`, tensor.shape, tensor),
];

const number = (config: Config, key: string) => config[key] as number;

const mamba2: Family = {
  architecture: "mamba2",
  keys: (config, set) => {
    const inner = number(config, "num_heads") * number(config, "head_dim");
    set("context_length", "uint32", 2 ** 20);
    set("embedding_length", "uint32", number(config, "hidden_size"));
    set("feed_forward_length", "uint32", 0);
    set("attention.head_count", "uint32", 0);
    set("block_count", "uint32", number(config, "num_hidden_layers"));
    set("ssm.conv_kernel", "uint32", number(config, "conv_kernel"));
    set("ssm.inner_size", "uint32", inner);
    set("ssm.state_size", "uint32", number(config, "state_size"));
    set("ssm.time_step_rank", "uint32", number(config, "num_heads"));
    set("ssm.group_count", "uint32", number(config, "n_groups"));
    set("attention.layer_norm_rms_epsilon", "float32", number(config, "layer_norm_epsilon"));
  },
  rules: (config) => [
    whole(/^backbone\.embeddings\.weight$/, "token_embd.weight"),
    whole(/^backbone\.norm_f\.weight$/, "output_norm.weight"),
    whole(/^lm_head\.weight$/, "output.weight"),
    inBlock(/^backbone\.layers\.(\d+)\.norm\.weight$/, "attn_norm.weight"),
    ...mixerRules("backbone\\.layers\\.(\\d+)\\.mixer\\.", number(config, "n_groups")),
  ],
};

/** By model_type. */
const families: Readonly<Record<string, Family>> = { mamba2 };

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
  family.keys(config, (name, kind, value) => writer.key(`${family.architecture}.${name}`, kind, value));
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
    if (match !== null) return convert(match, tensor);
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
