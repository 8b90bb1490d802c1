import { closeSync, openSync, readSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { rejectFile, withWeightFile } from "../weights/weight-file";
import { type GgufHeader, readHeader, type TensorInfo } from "./header";
import { isList, readList, type Scalar } from "./metadata";

export interface GgufTensor extends TensorInfo {
  /** Path of the file that holds the data. */
  readonly file: string;
}

const partName = /-(\d{5})-of-(\d{5})\.gguf$/;
const MAX_PARTS = 10_000;

/** Whether a path is a file in GGUF, by its name or by its first bytes: Ollama's files have no name. */
export function isGguf(path: string): boolean {
  try {
    if (!statSync(path).isFile()) return false;
  } catch {
    return false; // whoever opens it says why
  }
  return path.endsWith(".gguf") || startOf(path) === "GGUF";
}

function startOf(path: string): string {
  const start = Buffer.alloc(4);
  try {
    const descriptor = openSync(path, "r");
    try {
      readSync(descriptor, start);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return "";
  }
  return start.toString("latin1");
}

/**
 * A model in GGUF: its metadata, and where its tensors lie, in one file or in several that gguf-split made of it. Only headers are
 * read. Throws ERR_WEIGHTS.
 */
export class GgufFile {
  private constructor(
    readonly path: string,
    private readonly metadata: GgufHeader["metadata"],
    private readonly tensors: ReadonlyMap<string, GgufTensor>,
    /** Size of each file. */
    readonly files: ReadonlyMap<string, { readonly bytes: number }>,
  ) {}

  static open(path: string): GgufFile {
    const first = openPart(path);
    const parts = partsOf(path, first.metadata);
    const all = [first, ...parts.slice(1).map(openPart)];
    const tensors = new Map<string, GgufTensor>();
    for (const part of all) {
      for (const [name, info] of part.tensors) {
        if (tensors.has(name)) rejectFile(part.file, `tensor ${JSON.stringify(name)} is in another part too`, again);
        tensors.set(name, { ...info, file: part.file });
      }
    }
    const expected = first.metadata.get("split.tensors.count");
    if (all.length > 1 && typeof expected === "number" && expected !== tensors.size) {
      rejectFile(path, `expected ${expected} tensors in its ${all.length} parts, got ${tensors.size}`, again);
    }
    return new GgufFile(path, first.metadata, tensors, new Map(all.map(({ file, bytes }) => [file, { bytes }])));
  }

  /** Keys of the metadata. */
  keys(): string[] {
    return [...this.metadata.keys()];
  }

  /** The value of a key; undefined where there is none. A list is read from the file each time. */
  value(key: string): Scalar | readonly Scalar[] | undefined {
    const value = this.metadata.get(key);
    if (!isList(value)) return value;
    return withWeightFile(this.path, (bytes, read) => readList(this.path, bytes, read, key, value));
  }

  /** The same, where it is a string. */
  text(key: string): string | undefined {
    const value = this.metadata.get(key);
    return typeof value === "string" ? value : undefined;
  }

  /** Names of all tensors. */
  names(): string[] {
    return [...this.tensors.keys()];
  }

  tensor(name: string): GgufTensor | undefined {
    return this.tensors.get(name);
  }

  /** Bytes of all tensors. */
  get totalBytes(): number {
    let total = 0;
    for (const { bytes } of this.tensors.values()) total += bytes;
    return total;
  }
}

const again = "download all parts again";

function openPart(file: string): GgufHeader & { readonly file: string; readonly bytes: number } {
  return withWeightFile(file, (bytes, read) => ({ ...readHeader(file, bytes, read), file, bytes }));
}

/** Paths of all parts, that of the first one first. */
function partsOf(path: string, metadata: GgufHeader["metadata"]): string[] {
  const count = metadata.get("split.count") ?? 1;
  if (count === 1 || count === 0) return [path];
  if (typeof count !== "number" || !Number.isInteger(count) || count < 0 || count > MAX_PARTS) {
    return rejectFile(path, `split.count: expected an integer up to ${MAX_PARTS}, got another value`, again);
  }
  const [, number, total] = partName.exec(path) ?? [];
  const digits = (value: number) => String(value).padStart(5, "0");
  const nameOf = (i: number) => basename(path).replace(partName, `-${digits(i)}-of-${digits(count)}.gguf`);
  if (Number(total) !== count) {
    const problem = `expected a name that ends in -00001-of-${digits(count)}.gguf, as its metadata says`;
    return rejectFile(path, problem, "give the file the name that it was published with");
  }
  if (Number(number) !== 1) {
    return rejectFile(path, `expected the first of ${count} parts, got part ${Number(number)}`, `give ${nameOf(1)}`);
  }
  return [path, ...Array.from({ length: count - 1 }, (_, i) => join(dirname(path), nameOf(i + 2)))];
}
