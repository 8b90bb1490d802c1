import { EngineError } from "../errors";
import type { GgufFile } from "../gguf/gguf-file";
import { sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { Checkpoint, CheckpointEntry } from "./checkpoint";
import type { MatrixDescriptor, WeightDescriptor, WeightDtype } from "./descriptor";
import { dummyPart, type Initial, initial } from "./dummy";
import { type CodesOf, dummyCodes } from "./dummy-codes";
import { type QuantizationSettings, type StoredTensor, usualSettings } from "./formats/format";
import { recogniseMatrix, weightNames } from "./formats/recognise";
import { GgufStore } from "./gguf/store";
import type { GgufWeight } from "./gguf/weight";
import { type NameRule, renamed } from "./names";
import { readPart } from "./read-part";
import type { SafetensorsDtype } from "./safetensors";

export interface DummyOptions {
  /** Default 0. */
  readonly seed?: number;
  /** Type of the tensors that published checkpoints do not keep in f32; default bf16. */
  readonly dtype?: WeightDtype;
  /** Which matrices are codes; default none. */
  readonly codesOf?: CodesOf;
}

const weightDtypes: Partial<Record<SafetensorsDtype, WeightDtype>> = { F32: "f32", BF16: "bf16", F16: "f16" };

/** Where a scope's tensors come from; shared by all scopes under one root, and the record of what was asked for. */
export interface Store {
  tensor(name: string, shape: readonly number[], start: Initial): WeightDescriptor;
  matrix(name: string, shape: readonly [number, number]): MatrixDescriptor;
  scalar(name: string): WeightDescriptor | null;
  has(name: string): boolean;
  ignore(name: string): void;
  unused(prefix: string): string[];
  named(rule: NameRule): Store;
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

  static ofCheckpoint(checkpoint: Checkpoint, settings: QuantizationSettings = usualSettings): WeightScope {
    return new WeightScope(CheckpointStore.of(checkpoint, settings), "");
  }

  static ofGguf(file: GgufFile, weights: readonly GgufWeight[]): WeightScope {
    return new WeightScope(GgufStore.of(file, weights), "");
  }

  static ofDummy({ seed = 0, dtype = "bf16", codesOf = () => null }: DummyOptions = {}): WeightScope {
    return new WeightScope(new DummyStore(seed, dtype, codesOf), "");
  }

  /** All of the checkpoint's tensors, by the model's names. Throws ERR_WEIGHTS if two of them get the same. */
  named(rule: NameRule): WeightScope {
    return new WeightScope(this.store.named(rule), "");
  }

  scope(prefix: string | number): WeightScope {
    return new WeightScope(this.store, `${this.prefix}${prefix}.`);
  }

  /**
   * Throws ERR_WEIGHTS unless there is such a tensor, of this shape, stored as f32, bf16 or f16. `start` is what a dummy is
   * like.
   */
  tensor(name: string, shape: readonly number[], start: Initial = initial.matrix): WeightDescriptor {
    return this.store.tensor(this.prefix + name, shape, start);
  }

  /** The weight [n, k] of this scope, which may be stored as codes in one of `formats/`. Throws as tensor() does. */
  matrix(shape: readonly [n: number, k: number]): MatrixDescriptor {
    return this.store.matrix(`${this.prefix}weight`, shape);
  }

  /** Whether there is a weight, of floats or of codes; of dummy weights there is none. */
  hasMatrix(): boolean {
    return weightNames.some((name) => this.has(name));
  }

  /** A tensor of one element, whatever its shape; null where the checkpoint has none, and of dummy weights. */
  scalar(name: string): WeightDescriptor | null {
    return this.store.scalar(this.prefix + name);
  }

  /** Whether the checkpoint has it, for tensors that come in several forms; of dummy weights there is none. */
  has(name: string): boolean {
    return this.store.has(this.prefix + name);
  }

  /**
   * Counts a tensor, or all under a prefix, as used: for what a checkpoint may hold besides the model, such as lm_head with
   * tied embeddings.
   */
  ignore(name: string): void {
    this.store.ignore(this.prefix + name);
  }

  /** Tensors under this prefix that were not asked for, by the checkpoint's own names. */
  unused(): string[] {
    return this.store.unused(this.prefix);
  }
}

class CheckpointStore implements Store {
  private constructor(
    private readonly checkpoint: Checkpoint,
    private readonly originals: ReadonlyMap<string, string>,
    /** By the checkpoint's own names, whatever the model's are. */
    private readonly used: Set<string>,
    private readonly settings: QuantizationSettings,
  ) {}

  static of(checkpoint: Checkpoint, settings: QuantizationSettings): CheckpointStore {
    return new CheckpointStore(
      checkpoint,
      new Map(checkpoint.names().map((name) => [name, name])),
      new Set(),
      settings,
    );
  }

  named(rule: NameRule): CheckpointStore {
    return new CheckpointStore(this.checkpoint, renamed(this.checkpoint.names(), rule), this.used, this.settings);
  }

  matrix(name: string, shape: readonly [number, number]): MatrixDescriptor {
    const prefix = name.slice(0, -"weight".length);
    const module = { weight: name, get: (beside: string) => this.stored(prefix + beside), read: readPart };
    return recogniseMatrix(module, shape, this.settings) ?? this.tensor(name, shape);
  }

  private stored(name: string): StoredTensor | null {
    const original = this.originals.get(name);
    if (original === undefined) return null;
    this.used.add(original);
    const { dtype, shape, file, offset, bytes } = this.checkpoint.entry(original);
    return { name: original, dtype, shape, part: { file, offset, bytes } };
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
    this.used.add(original);
    const { file, offset, bytes } = entry;
    return { name, dtype, shape: [...shape], source: { parts: [{ file, offset, bytes }] } };
  }

  scalar(name: string): WeightDescriptor | null {
    const original = this.originals.get(name);
    if (original === undefined) return null;
    const { shape } = this.checkpoint.entry(original);
    return this.tensor(name, elementsOf(shape) === 1 ? shape : []);
  }

  has(name: string): boolean {
    return this.originals.has(name);
  }

  ignore(name: string): void {
    for (const [internal, original] of this.originals) {
      if (internal === name || internal.startsWith(`${name}.`)) this.used.add(original);
    }
  }

  unused(prefix: string): string[] {
    const left = [...this.originals].filter(([name, original]) => name.startsWith(prefix) && !this.used.has(original));
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
    private readonly codesOf: CodesOf,
  ) {}

  named(): DummyStore {
    return this;
  }

  matrix(name: string, shape: readonly [number, number]): MatrixDescriptor {
    const form = this.codesOf(name.slice(0, -".weight".length));
    return form === null ? this.tensor(name, shape, initial.matrix) : dummyCodes(name, shape, form, this.seed);
  }

  tensor(name: string, shape: readonly number[], { law, f32 = false }: Initial): WeightDescriptor {
    const dtype = f32 ? "f32" : this.dtype;
    const part = dummyPart(name, law, this.seed, elementsOf(shape), sizeOf(dtype));
    return { name, dtype, shape: [...shape], source: { dummy: [part] } };
  }

  scalar(): null {
    return null;
  }

  has(): boolean {
    return false;
  }

  ignore(): void {}

  unused(): string[] {
    return [];
  }
}

function reject(name: string, entry: CheckpointEntry, message: string): never {
  throw new EngineError("ERR_WEIGHTS", `${entry.file}: tensor ${name}: ${message}`, { subject: name });
}
