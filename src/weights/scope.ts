import { EngineError } from "../errors";
import type { Checkpoint, CheckpointEntry } from "./checkpoint";
import { type DummyWeights, dummyKind, dummySeed } from "./dummy";
import { internalNames } from "./names";
import type { SafetensorsDtype } from "./safetensors";

export type WeightDtype = "f32" | "bf16" | "f16";

/** Bytes of a file, or a recipe for random values (see fillDummy). */
export type WeightSource =
  | { readonly file: string; readonly offset: number; readonly bytes: number }
  | { readonly dummy: DummyWeights };

/** One tensor as the model asked for it. `dtype` is how the file stores it; dummy values are drawn as f32 and rounded to it. */
export interface WeightDescriptor {
  /** Internal name, see names.ts. */
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];
  readonly source: WeightSource;
}

export interface DummyOptions {
  /** Default 0. */
  readonly seed?: number;
  /** Of matrices and norms, default bf16; A_log, D and dt_bias are f32 as in published checkpoints. */
  readonly dtype?: WeightDtype;
}

const weightDtypes: Partial<Record<SafetensorsDtype, WeightDtype>> = { F32: "f32", BF16: "bf16", F16: "f16" };

/** Where a scope's tensors come from; shared by all scopes under one root, and the record of what was asked for. */
interface Store {
  tensor(name: string, shape: readonly number[]): WeightDescriptor;
  ignore(name: string): void;
  unused(prefix: string): string[];
}

/**
 * A prefix into the weights of a model, handed down as the model is built:
 *
 *   const mixer = weights.scope("layers").scope(3).scope("mixer");
 *   const inProj = mixer.tensor("in_proj.weight", [n, k]);
 *
 * It gives descriptors, no memory. Dummy weights behave like a checkpoint that has whatever is asked for.
 */
export class WeightScope {
  private constructor(
    private readonly store: Store,
    private readonly prefix: string,
  ) {}

  /** Throws ERR_WEIGHTS if two tensors of the checkpoint mean the same. */
  static ofCheckpoint(checkpoint: Checkpoint): WeightScope {
    return new WeightScope(new CheckpointStore(checkpoint), "");
  }

  static ofDummy(options: DummyOptions = {}): WeightScope {
    return new WeightScope(new DummyStore(options.seed ?? 0, options.dtype ?? "bf16"), "");
  }

  scope(prefix: string | number): WeightScope {
    return new WeightScope(this.store, `${this.prefix}${prefix}.`);
  }

  /** Throws ERR_WEIGHTS unless there is such a tensor, of this shape, stored as f32, bf16 or f16. */
  tensor(name: string, shape: readonly number[]): WeightDescriptor {
    return this.store.tensor(this.prefix + name, shape);
  }

  /** Counts a tensor as used if it is there: for ones that a checkpoint may repeat, such as lm_head with tied embeddings. */
  ignore(name: string): void {
    this.store.ignore(this.prefix + name);
  }

  /** Tensors under this prefix that were not asked for, by the checkpoint's own names. */
  unused(): string[] {
    return this.store.unused(this.prefix);
  }
}

class CheckpointStore implements Store {
  private readonly originals: ReadonlyMap<string, string>;
  private readonly used = new Set<string>();

  constructor(private readonly checkpoint: Checkpoint) {
    this.originals = internalNames(checkpoint.names());
  }

  tensor(name: string, shape: readonly number[]): WeightDescriptor {
    const original = this.originals.get(name);
    if (original === undefined) return this.rejectMissing(name, shape);
    const entry = this.checkpoint.entry(original);
    if (entry.shape.length !== shape.length || entry.shape.some((size, i) => size !== shape[i])) {
      const remedy = "config.json and the weights belong to different models";
      reject(original, entry, `expected shape [${shape.join(", ")}], got [${entry.shape.join(", ")}]; ${remedy}`);
    }
    const dtype = weightDtypes[entry.dtype];
    if (dtype === undefined) {
      return reject(original, entry, `expected F32, BF16 or F16, got ${entry.dtype}; convert the checkpoint`);
    }
    this.used.add(name);
    const { file, offset, bytes } = entry;
    return { name, dtype, shape: [...shape], source: { file, offset, bytes } };
  }

  ignore(name: string): void {
    this.used.add(name);
  }

  unused(prefix: string): string[] {
    const left = [...this.originals].filter(([name]) => name.startsWith(prefix) && !this.used.has(name));
    return left.map(([, original]) => original);
  }

  private rejectMissing(name: string, shape: readonly number[]): never {
    const parent = name.slice(0, name.lastIndexOf(".", name.lastIndexOf(".") - 1) + 1);
    const siblings = [...this.originals].filter(([other]) => other.startsWith(parent)).slice(0, 8);
    const found =
      siblings.length === 0 ? "none under that prefix" : siblings.map(([, original]) => original).join(", ");
    const message = `expected tensor ${name} of shape [${shape.join(", ")}], got none; there is: ${found}`;
    throw new EngineError("ERR_WEIGHTS", `${this.checkpoint.dir}: ${message}`, { subject: name });
  }
}

class DummyStore implements Store {
  constructor(
    private readonly seed: number,
    private readonly dtype: WeightDtype,
  ) {}

  tensor(name: string, shape: readonly number[]): WeightDescriptor {
    const dtype = /\.(A_log|D|dt_bias)$/.test(name) ? "f32" : this.dtype;
    const dummy = { seed: dummySeed(name, this.seed), kind: dummyKind(name, shape) };
    return { name, dtype, shape: [...shape], source: { dummy } };
  }

  ignore(): void {}

  unused(): string[] {
    return [];
  }
}

function reject(name: string, entry: CheckpointEntry, message: string): never {
  throw new EngineError("ERR_WEIGHTS", `${entry.file}: tensor ${name}: ${message}`, { subject: name });
}
