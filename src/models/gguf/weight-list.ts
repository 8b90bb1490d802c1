import { elementsOf } from "../../tensor/shape";
import type { GgufWeight, Range } from "../../weights/gguf/weight";
import type { ModelFile } from "./model-file";

export interface Form {
  /** The shape that the model asks for, by that of the file. */
  readonly shape?: (shape: readonly number[]) => readonly number[];
  /** Rows in the model's order. */
  readonly rows?: readonly Range[];
  readonly columns?: readonly Range[];
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

  /** Rows of a layer: names of both sides follow their prefixes. */
  layer(i: number, prefix: string, rows: readonly Row[]): this {
    return this.add(rows.map(([name, tensor, form]) => [`${prefix}${name}`, `blk.${i}.${tensor}`, form ?? {}]));
  }

  /** A tensor [experts, n, k] as a weight of each expert, called by its number. */
  experts(i: number, prefix: string, rows: readonly (readonly [name: string, tensor: string])[]): this {
    for (const [name, suffix] of rows) {
      const from = `blk.${i}.${suffix}`;
      const tensor = this.model.tensor(from);
      if (tensor?.shape.length !== 3) continue;
      const [experts, n, k] = tensor.shape as readonly [number, number, number];
      for (let expert = 0; expert < experts; expert++) {
        const range = { tensor, begin: expert * n, end: (expert + 1) * n };
        this.weights.push({ name: `${prefix}${expert}.${name}`, from: [from], shape: [n, k], rows: [range] });
      }
    }
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

/** A Mamba-2 mixer. */
export const mixer = (prefix: string): readonly Row[] => [
  [`${prefix}in_proj.weight`, "ssm_in.weight"],
  [`${prefix}in_proj.bias`, "ssm_in.bias"],
  [`${prefix}conv1d.weight`, "ssm_conv1d.weight", { shape: taps }],
  [`${prefix}conv1d.bias`, "ssm_conv1d.bias"],
  [`${prefix}dt_bias`, "ssm_dt.bias"],
  [`${prefix}A_log`, "ssm_a", { shape: flat, change: logOfRate }],
  [`${prefix}D`, "ssm_d", { shape: flat }],
  [`${prefix}norm.weight`, "ssm_norm.weight", { shape: flat }],
  [`${prefix}out_proj.weight`, "ssm_out.weight"],
  [`${prefix}out_proj.bias`, "ssm_out.bias"],
];
