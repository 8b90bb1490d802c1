import type { GgufFile, GgufTensor } from "../../gguf/gguf-file";
import type { Range } from "../../weights/range";

/** A value of config.json, and the key of the file that it comes from, which errors name. */
export interface Field {
  readonly value: unknown;
  readonly key: string;
}

export type Fields = Readonly<Record<string, Field>>;

/** A GGUF file of a model: keys under the prefix of its architecture, and tensors of its layers. */
export class ModelFile {
  constructor(
    readonly file: GgufFile,
    /** general.architecture */
    readonly architecture: string,
  ) {}

  /** A key under the architecture's prefix. */
  field(name: string): Field {
    const key = `${this.architecture}.${name}`;
    return { value: this.file.value(key), key };
  }

  /** The same, where `fallback` counts if the file has no such key. */
  fieldOr(name: string, fallback: unknown): Field {
    const { value, key } = this.field(name);
    return { value: value ?? fallback, key };
  }

  /** The number of a key; NaN where the file has none, which no field accepts. */
  number(name: string): number {
    const { value } = this.field(name);
    return typeof value === "number" ? value : Number.NaN;
  }

  /** A value that follows from another key's. */
  from(name: string, value: unknown): Field {
    return { value, key: `${this.architecture}.${name}` };
  }

  /** A value that follows from a tensor. */
  of(tensor: string, value: unknown): Field {
    return { value, key: `tensor ${tensor}` };
  }

  /** Rows of a tensor; undefined where there is none. */
  rows(tensor: string): Field {
    return this.of(tensor, this.file.tensor(tensor)?.shape.at(-2));
  }

  has(tensor: string): boolean {
    return this.file.tensor(tensor) !== undefined;
  }

  tensor(name: string): GgufTensor | undefined {
    return this.file.tensor(name);
  }

  /** Layers of the language model; heads that draft tokens come after them. */
  get layers(): number {
    const { value } = this.field("nextn_predict_layers");
    return this.number("block_count") - (typeof value === "number" ? value : 0);
  }

  /** What each layer is, by the tensor that only such a layer has. */
  kinds<Kind extends string>(tensorOf: Readonly<Record<string, Kind>>): Field {
    const { layers } = this;
    // Beyond what any reader takes; its error is that of the number of layers.
    const count = layers >= 1 && layers <= 4096 ? layers : 0;
    const kindOf = (i: number) => Object.entries(tensorOf).find(([name]) => this.has(`blk.${i}.${name}`))?.[1];
    const value = Array.from(
      { length: count },
      (_, i) => kindOf(i) ?? `a layer without ${Object.keys(tensorOf).join(" or ")}`,
    );
    return { value, key: "blk" };
  }

  /** Rows of the tensor of this name in the first layer that has one. */
  rowsInAnyLayer(name: string): Field {
    return this.rows(this.inAnyLayer(name) ?? `blk.*.${name}`);
  }

  /** Whether any layer has a tensor of this name. */
  hasInAnyLayer(name: string): Field {
    return this.of(`blk.*.${name}`, this.inAnyLayer(name) !== undefined);
  }

  /** The first tensor of one of the layers by its name there. */
  inAnyLayer(name: string): string | undefined {
    for (let i = 0; i < this.layers && i < 4096; i++) if (this.has(`blk.${i}.${name}`)) return `blk.${i}.${name}`;
    return undefined;
  }

  /** The one number of a key that may have a number for each layer, of those that are not 0. */
  perLayer(name: string): Field {
    const { value, key } = this.field(name);
    if (!Array.isArray(value)) return { value, key };
    const sizes = [...new Set(value.filter((size) => size !== 0))];
    return { value: sizes.length === 1 ? sizes[0] : value, key };
  }
}

/** Ranges of equal parts of rows in the order that `order` gives: for part i of the result, which one of the file. */
export function parts(count: number, size: number, order: (i: number) => number, first = 0): Range[] {
  return Array.from({ length: count }, (_, i) => {
    const begin = first + order(i) * size;
    return [begin, begin + size];
  });
}
