/** What llama.cpp's converter does to tensors and keys: the parts that its families share. */
import { elementsOf } from "../../src/tensor/shape";

export interface Values {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export type Config = Readonly<Record<string, unknown>>;

type Converted = Readonly<Record<string, Values>>;

/** What a tensor becomes, by names of the file; the layer's number is the pattern's first group. */
export type Rule = readonly [pattern: RegExp, convert: (block: string, tensor: Values) => Converted];

export interface Key {
  readonly type: "uint32" | "float32" | "bool";
  readonly value: number | boolean;
}

export interface Family {
  readonly architecture: string;
  /** Keys under the architecture's prefix. */
  keys(config: Config): Readonly<Record<string, Key>>;
  rules(config: Config): readonly Rule[];
}

export const uint32 = (value: unknown): Key => ({ type: "uint32", value: value as number });
export const float32 = (value: unknown): Key => ({ type: "float32", value: value as number });
export const bool = (value: boolean): Key => ({ type: "bool", value });
export const number = (config: Config, key: string) => config[key] as number;

const same = (name: string, { shape, values }: Values): Converted => ({ [name]: { shape, values } });
const reshaped = ({ values }: Values, shape: readonly number[]): Values => ({ shape, values });
export const mapped = ({ shape, values }: Values, change: (value: number) => number): Values => ({
  shape,
  values: values.map(change),
});

/** Row i of the result is row `order(i)`. */
export function reordered({ shape, values }: Values, order: (i: number) => number): Values {
  const width = elementsOf(shape.slice(1));
  const out = new Float32Array(values.length);
  for (let i = 0; i < shape[0]!; i++) out.set(values.subarray(order(i) * width, (order(i) + 1) * width), i * width);
  return { shape, values: out };
}

export function transposed({ shape, values }: Values): Values {
  const [rows, columns] = shape as [number, number];
  const out = Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
  return { shape: [columns, rows], values: out };
}

/** Rows [begin, end) of the last but one dimension, of each matrix of a stack. */
export function sliced({ shape, values }: Values, begin: number, end: number): Values {
  const [rows, width] = shape.slice(-2) as [number, number];
  const count = elementsOf(shape.slice(0, -2));
  const size = (end - begin) * width;
  const out = new Float32Array(count * size);
  for (let i = 0; i < count; i++) {
    out.set(values.subarray((i * rows + begin) * width, (i * rows + end) * width), i * size);
  }
  return { shape: [...shape.slice(0, -2), end - begin, width], values: out };
}

/** The halves of the last but one dimension, by two names. */
export function halves(tensor: Values, first: string, second: string): Converted {
  const rows = tensor.shape.at(-2)!;
  return { [first]: sliced(tensor, 0, rows / 2), [second]: sliced(tensor, rows / 2, rows) };
}

/** Heads whose halves become interleaved, for llama.cpp's order of rotation. */
function interleaved(tensor: Values, heads: number): Values {
  const size = tensor.shape[0]! / heads;
  return reordered(tensor, (i) => {
    const [head, channel] = [Math.floor(i / size), i % size];
    return head * size + (channel % 2) * (size / 2) + Math.floor(channel / 2);
  });
}

export const whole = (pattern: RegExp, name: string, change = (tensor: Values) => tensor): Rule => [
  pattern,
  (_, tensor) => same(name, change(tensor)),
];

/** A tensor of a layer; patterns after "layers.N.". */
export const inLayer = (pattern: string, name: string, change = (tensor: Values) => tensor): Rule => [
  new RegExp(`layers\\.(\\d+)\\.${pattern}$`),
  (block, tensor) => same(block + name, change(tensor)),
];

export const embeddings = (change = (tensor: Values) => tensor, headChange = change): Rule[] => [
  whole(/embed(_tokens|dings)\.weight$/, "token_embd.weight", change),
  whole(/^lm_head\.weight$/, "output.weight", headChange),
];

const column = (tensor: Values) => reshaped(tensor, [elementsOf(tensor.shape), 1]);
export const squeezed = (tensor: Values) => reshaped(tensor, [tensor.shape[0]!, tensor.shape.at(-1)!]);

export function mixerRules(name: string, groups: number): Rule[] {
  return [
    inLayer(`${name}\\.in_proj\\.weight`, "ssm_in.weight"),
    inLayer(`${name}\\.conv1d\\.weight`, "ssm_conv1d.weight", squeezed),
    inLayer(`${name}\\.conv1d\\.bias`, "ssm_conv1d.bias"),
    inLayer(`${name}\\.dt_bias`, "ssm_dt.bias"),
    inLayer(`${name}\\.A_log`, "ssm_a", (t) => mapped(column(t), (value) => -Math.exp(value))),
    inLayer(`${name}\\.D`, "ssm_d", column),
    inLayer(`${name}\\.norm\\.weight`, "ssm_norm.weight", (t) => reshaped(t, [groups, elementsOf(t.shape) / groups])),
    inLayer(`${name}\\.out_proj\\.weight`, "ssm_out.weight"),
  ];
}

export function attentionRules(name: string, heads?: { readonly q: number; readonly k: number }): Rule[] {
  return [
    inLayer(`${name}\\.q_proj\\.weight`, "attn_q.weight", (t) => (heads ? interleaved(t, heads.q) : t)),
    inLayer(`${name}\\.k_proj\\.weight`, "attn_k.weight", (t) => (heads ? interleaved(t, heads.k) : t)),
    inLayer(`${name}\\.v_proj\\.weight`, "attn_v.weight"),
    inLayer(`${name}\\.o_proj\\.weight`, "attn_output.weight"),
  ];
}

export const headsOf = (config: Config) => ({
  q: number(config, "num_attention_heads"),
  k: number(config, "num_key_value_heads"),
});

export const mlpRules = (name: string, suffix = ""): Rule[] =>
  ["gate", "up", "down"].map((part) => inLayer(`${name}\\.${part}_proj\\.weight`, `ffn_${part}${suffix}.weight`));

export const expertRules = (name: string): Rule[] => [
  [
    new RegExp(`layers\\.(\\d+)\\.${name}\\.gate_up_proj$`),
    (block, tensor) => halves(tensor, `${block}ffn_gate_exps.weight`, `${block}ffn_up_exps.weight`),
  ],
  inLayer(`${name}\\.up_proj`, "ffn_up_exps.weight"),
  inLayer(`${name}\\.down_proj`, "ffn_down_exps.weight"),
];

/** Keys of the models with attention. */
export function attentionKeys(config: Config): Readonly<Record<string, Key>> {
  return {
    context_length: uint32(config.max_position_embeddings),
    embedding_length: uint32(config.hidden_size),
    block_count: uint32(config.num_hidden_layers),
    "attention.head_count": uint32(config.num_attention_heads),
    "attention.head_count_kv": uint32(config.num_key_value_heads),
    "attention.layer_norm_rms_epsilon": float32(config.rms_norm_eps),
    "rope.freq_base": float32(
      (config.rope_parameters as { rope_theta: number } | undefined)?.rope_theta ?? config.rope_theta,
    ),
  };
}
