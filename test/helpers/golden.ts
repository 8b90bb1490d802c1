import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readSafetensorsHeader } from "../../src/weights/safetensors";

const root = join(__dirname, "..", "..");

/** A model with what the reference implementation computes from it (see test/golden/README.md). */
export class Golden {
  private readonly path: string;
  private readonly file: Buffer;

  constructor(
    readonly name: string,
    readonly modelDir: string,
    path = join(root, "test", "golden", name, "golden.safetensors"),
  ) {
    this.path = path;
    this.file = readFileSync(this.path);
  }

  get numPrompts(): number {
    return [...this.header.tensors.keys()].filter((key) => key.startsWith("input_ids.")).length;
  }

  ids(key: string): number[] {
    const { offset, bytes } = this.entry(key);
    return [
      ...new Int32Array(this.file.buffer.slice(this.file.byteOffset + offset, this.file.byteOffset + offset + bytes)),
    ];
  }

  /** Values and shape. */
  floats(key: string): { values: Float32Array; shape: readonly number[] } {
    const { offset, bytes, shape } = this.entry(key);
    const start = this.file.byteOffset + offset;
    return { values: new Float32Array(this.file.buffer.slice(start, start + bytes)), shape };
  }

  private get header() {
    return readSafetensorsHeader(this.path);
  }

  private entry(key: string) {
    const entry = this.header.tensors.get(key);
    if (entry === undefined) throw new Error(`${this.path} has no ${key}`);
    return entry;
  }
}

const golden = (name: string) => new Golden(name, join(root, "test", "golden", name));

export const goldens = [
  golden("mamba2"),
  golden("mamba2_groups"),
  new Golden("storyteller-6m", join(root, "models", "storyteller-6m")),
  golden("bamba"),
  golden("granitemoehybrid"),
  golden("granitemoehybrid_dense"),
  golden("granitemoehybrid_attention"),
  golden("nemotron_h"),
  golden("nemotron_h_moe"),
  golden("nemotron_h_latent"),
  golden("falcon_h1"),
  golden("falcon_h1_large_state"),
  golden("zamba2"),
  golden("qwen3_next"),
  golden("qwen3_5_text"),
  golden("qwen3_5_moe_text"),
];

/** The same families with other dimensions and switches: held to their logits, while all else is held by those above. */
export const variants = [golden("nemotron_h_moe_own_head"), golden("falcon_h1_norm_before_gate")];

/** Norm of the difference over the norm of the reference. */
export function relativeError(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length) throw new Error(`${actual.length} values, expected ${expected.length}`);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

/**
 * The error that half of the rows of `vocabSize` logits stay below. In 16 bits two experts can be as good as each other to within
 * the rounding of all that came before: then a token gets the other one, in any implementation, and another row.
 */
export function medianRowError(actual: Float32Array, expected: Float32Array, vocabSize: number): number {
  const errors: number[] = [];
  for (let i = 0; i < expected.length; i += vocabSize) {
    errors.push(relativeError(actual.subarray(i, i + vocabSize), expected.subarray(i, i + vocabSize)));
  }
  return errors.sort((a, b) => a - b)[errors.length >> 1]!;
}

/** Whether the model's layers choose experts. */
export const choosesExperts = ({ name }: Golden): boolean => /moe(?!hybrid_)|latent|next/.test(name);

/** Whether all bits are the same; much quicker than toEqual on logits. */
export function sameBits(a: Float32Array | undefined, b: Float32Array | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  const bytes = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}
