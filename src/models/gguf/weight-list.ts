import { elementsOf } from "../../tensor/shape";
import type { GgufWeight } from "../../weights/gguf/weight";
import type { Range } from "../../weights/range";
import { type ModelFile, parts } from "./model-file";

export interface Form {
  /** The shape that the model asks for, by that of the file. */
  readonly shape?: (shape: readonly number[]) => readonly number[];
  /** Rows in the model's order. */
  readonly rows?: readonly Range[] | undefined;
  readonly columns?: readonly Range[] | undefined;
  readonly change?: (value: number) => number;
}

/** The name that a checkpoint of Hugging Face has, that of the file, and how the two differ. */
export type Row = readonly [name: string, tensor: string, form?: Form];

export const flat = (shape: readonly number[]): readonly number[] => [elementsOf(shape)];

/** One number for all: what Hugging Face stores as a matrix of one row, the file may store as a vector. */
export const oneRow = (shape: readonly number[]): readonly number[] => [1, elementsOf(shape)];

/** Taps of a convolution for each channel. */
export const taps = ([channels = 0, width = 0]: readonly number[]): readonly number[] => [channels, 1, width];

/** The logarithm of a decay's rate, which files have as -exp of it. */
export const logOfRate = (value: number): number => Math.log(-value);

/** What a norm's weight is more than 1. */
export const aboveOne = (value: number): number => value - 1;

/** A list of what a model's weights are made of. Tensors that a file lacks are left out: whoever asks for them says so. */
export class WeightList {
  readonly weights: GgufWeight[] = [];

  constructor(readonly model: ModelFile) {}

  add(rows: readonly Row[]): this {
    for (const [name, from, form = {}] of rows) {
      const tensor = this.model.tensor(from);
      if (tensor === undefined) continue;
      const { rows: ranges = [[0, rowsOf(tensor.shape)]], columns, change, shape = (stored) => stored } = form;
      this.weights.push({
        name,
        from: [from],
        shape: shape(tensor.shape),
        rows: ranges.map(([begin, end]) => ({ tensor, begin, end })),
        columns,
        change,
      });
    }
    return this;
  }

  /** Embeddings, the last norm and the head, which all models have under these names, but for how they call the first two. */
  ends(embeddings: string, norm: string, normForm: Form = {}): this {
    return this.add([
      [embeddings, "token_embd.weight"],
      [norm, "output_norm.weight", normForm],
      ["lm_head.weight", "output.weight"],
    ]);
  }

  /** Rows of a layer: names of both sides follow their prefixes. */
  layer(i: number, prefix: string, rows: readonly Row[]): this {
    return this.add(rows.map(([name, tensor, form]) => [`${prefix}${name}`, `blk.${i}.${tensor}`, form ?? {}]));
  }

  /** Tensors [experts, n, k] as weights of each expert, called by its number. */
  experts(i: number, prefix: string): this {
    for (const name of ["gate_proj", "up_proj", "down_proj"]) {
      const tensor = `blk.${i}.ffn_${name.replace("proj", "exps")}.weight`;
      this.slices(tensor, 1, (expert) => `${prefix}${expert}.${name}.weight`);
    }
    const both = ["gate_proj", "up_proj"];
    return this.slices(
      `blk.${i}.ffn_gate_up_exps.weight`,
      2,
      (slice) => `${prefix}${slice >> 1}.${both[slice & 1]}.weight`,
    );
  }

  /** Each of [count, n, k] as `each` weights one below the other. */
  private slices(from: string, each: number, nameOf: (slice: number) => string): this {
    const tensor = this.model.tensor(from);
    if (tensor?.shape.length !== 3) return this;
    const [count, rows, k] = tensor.shape as readonly [number, number, number];
    const n = rows / each;
    for (let i = 0; i < count * each; i++) {
      const range = { tensor, begin: i * n, end: (i + 1) * n };
      this.weights.push({ name: nameOf(i), from: [from], shape: [n, k], rows: [range] });
    }
    return this;
  }

  /** Rows of several tensors one below the other; none where one of them is missing. */
  joined(name: string, pieces: readonly (readonly [tensor: string, ...Range])[]): this {
    const rows = pieces.flatMap(([from, begin, end]) => {
      const tensor = this.model.tensor(from);
      return tensor === undefined ? [] : [{ tensor, begin, end }];
    });
    if (rows.length < pieces.length) return this;
    const shape = [pieces.reduce((sum, [, begin, end]) => sum + end - begin, 0), rows[0]!.tensor.shape.at(-1)!];
    this.weights.push({ name, from: [...new Set(pieces.map(([from]) => from))], shape, rows });
    return this;
  }

  /** Everything of layers beyond the model's, which drafts tokens, under a name that models leave alone. */
  drafts(): this {
    const beyond = this.model.file.names().filter((name) => {
      const [, layer] = /^blk\.(\d+)\./.exec(name) ?? [];
      return layer !== undefined && Number(layer) >= this.model.layers;
    });
    return this.add(beyond.map((name) => [`mtp.${name}`, name]));
  }
}

function rowsOf(shape: readonly number[]): number {
  return elementsOf(shape.slice(0, -1));
}

/**
 * Rows of q and k whose heads' channels were interleaved for another order of rotation: of each head, channel i of the first half and of the
 * second are neighbours in the file.
 */
function rotated(heads: number, rows: number): readonly Range[] {
  const half = rows / heads / 2;
  return parts(rows, 1, (i) => {
    const [head, channel] = [Math.floor(i / (2 * half)), i % (2 * half)];
    return head * 2 * half + 2 * (channel % half) + Math.floor(channel / half);
  });
}

/** Rows of q and of k of a layer, by their tensors. */
export function rotatedRows(
  model: ModelFile,
  i: number,
): { readonly q?: readonly Range[]; readonly k?: readonly Range[] } {
  const rowsOfTensor = (name: string) => model.tensor(`blk.${i}.${name}`)?.shape.at(-2);
  const [q, k] = [rowsOfTensor("attn_q.weight"), rowsOfTensor("attn_k.weight")];
  const heads = Number(model.perLayer("attention.head_count").value);
  if (q === undefined || k === undefined || !(heads > 0) || q % (2 * heads) !== 0) return {};
  return { q: rotated(heads, q), k: rotated((heads * k) / q, k) };
}

/** Attention. `rows`: those of q and of k in the model's order. */
export const attention = (
  prefix: string,
  rows: { readonly q?: readonly Range[]; readonly k?: readonly Range[] } = {},
): readonly Row[] => [
  [`${prefix}q_proj.weight`, "attn_q.weight", { rows: rows.q }],
  [`${prefix}k_proj.weight`, "attn_k.weight", { rows: rows.k }],
  ...withBias(`${prefix}v_proj`, "attn_v"),
  ...withBias(`${prefix}o_proj`, "attn_output"),
  [`${prefix}q_proj.bias`, "attn_q.bias", { columns: rows.q }],
  [`${prefix}k_proj.bias`, "attn_k.bias", { columns: rows.k }],
];

/** An MLP; `suffix`: "_shexp" for an expert that all tokens use. */
export const mlp = (prefix: string, suffix = ""): readonly Row[] =>
  ["gate", "up", "down"].flatMap((name) => withBias(`${prefix}${name}_proj`, `ffn_${name}${suffix}`));

function withBias(name: string, tensor: string): readonly Row[] {
  return [
    [`${name}.weight`, `${tensor}.weight`],
    [`${name}.bias`, `${tensor}.bias`],
  ];
}

/** A Mamba-2 mixer. */
export const mixer = (prefix: string): readonly Row[] => [
  ...withBias(`${prefix}in_proj`, "ssm_in"),
  [`${prefix}conv1d.weight`, "ssm_conv1d.weight", { shape: taps }],
  [`${prefix}conv1d.bias`, "ssm_conv1d.bias"],
  [`${prefix}dt_bias`, "ssm_dt.bias"],
  [`${prefix}A_log`, "ssm_a", { shape: flat, change: logOfRate }],
  [`${prefix}D`, "ssm_d", { shape: flat }],
  [`${prefix}norm.weight`, "ssm_norm.weight", { shape: flat }],
  ...withBias(`${prefix}out_proj`, "ssm_out"),
];
