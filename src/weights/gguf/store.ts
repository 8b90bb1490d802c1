import { EngineError } from "../../errors";
import type { GgufFile } from "../../gguf/gguf-file";
import { elementsOf } from "../../tensor/shape";
import type { MatrixDescriptor, WeightDescriptor } from "../descriptor";
import { type NameRule, renamed } from "../names";
import type { Store } from "../scope";
import { floatsOf, type GgufWeight, matrixOf } from "./weight";

/** The weights of a GGUF file. What no weight is made of counts as unused, as does what is not asked for. */
export class GgufStore implements Store {
  private constructor(
    private readonly file: GgufFile,
    /** By the model's names. */
    private readonly weights: ReadonlyMap<string, GgufWeight>,
    /** The file's own names. */
    private readonly used: Set<string>,
  ) {}

  static of(file: GgufFile, weights: readonly GgufWeight[]): GgufStore {
    return new GgufStore(file, new Map(weights.map((weight) => [weight.name, weight])), new Set());
  }

  named(rule: NameRule): GgufStore {
    const originals = renamed(this.weights.keys(), rule);
    const weights = [...originals].map(([name, original]) => [name, this.weights.get(original)!] as const);
    return new GgufStore(this.file, new Map(weights), this.used);
  }

  tensor(name: string, shape: readonly number[]): WeightDescriptor {
    return { ...floatsOf(this.weight(name, shape)), name };
  }

  matrix(name: string, shape: readonly [number, number]): MatrixDescriptor {
    return { ...matrixOf(this.weight(name, shape)), name };
  }

  scalar(name: string): WeightDescriptor | null {
    const weight = this.weights.get(name);
    return weight === undefined ? null : this.tensor(name, elementsOf(weight.shape) === 1 ? weight.shape : []);
  }

  has(name: string): boolean {
    return this.weights.has(name);
  }

  ignore(name: string): void {
    for (const [internal, { from }] of this.weights) {
      if (internal === name || internal.startsWith(`${name}.`)) for (const tensor of from) this.used.add(tensor);
    }
  }

  unused(prefix: string): string[] {
    if (prefix === "") return this.file.names().filter((name) => !this.used.has(name));
    const weights = [...this.weights].filter(([name]) => name.startsWith(prefix));
    return [...new Set(weights.flatMap(([, { from }]) => from))].filter((name) => !this.used.has(name));
  }

  private weight(name: string, shape: readonly number[]): GgufWeight {
    const weight = this.weights.get(name);
    const expected = `${this.file.path}: expected tensor ${name} of shape [${shape.join(", ")}]`;
    if (weight === undefined) {
      throw new EngineError("ERR_WEIGHTS", `${expected}, got nothing that it is made of; download the file again`, {
        subject: name,
      });
    }
    if (`${weight.shape}` !== `${shape}`) {
      const got = `${weight.from.join(", ")} of shape [${weight.shape.join(", ")}]`;
      throw new EngineError("ERR_WEIGHTS", `${expected}, got ${got}; its metadata and its tensors differ`, {
        subject: name,
      });
    }
    for (const tensor of weight.from) this.used.add(tensor);
    return weight;
  }
}
