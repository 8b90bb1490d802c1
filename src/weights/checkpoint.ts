import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { EngineError } from "../errors";
import { JsonCursor, quoted } from "./json-cursor";
import { readSafetensorsHeader, type TensorEntry, type WeightHeader } from "./safetensors";
import { readTorchHeader } from "./torch-file";

export interface CheckpointEntry extends TensorEntry {
  /** Real path of the file that holds the tensor, symbolic links resolved. */
  readonly file: string;
}

/** Looked for in this order; an index names shards. */
const sources = [
  "model.safetensors",
  "model.safetensors.index.json",
  "consolidated.safetensors",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
] as const;
const maxIndexBytes = 100_000_000;

function reject(file: string, message: string, cause?: unknown): never {
  throw new EngineError("ERR_WEIGHTS", `${file}: ${message}`, { subject: file, cause });
}

/**
 * The tensors of a model directory, by the names that its files use: safetensors, or else PyTorch's .bin, one file or shards with an
 * index. Only headers are read; every failure is ERR_WEIGHTS, including a file that lies outside the directory.
 */
export class Checkpoint {
  private constructor(
    readonly dir: string,
    /** Size and name of each weight file, in the order of the index; whoever maps a file must find this size. */
    readonly files: ReadonlyMap<string, { readonly bytes: number }>,
    private readonly entries: ReadonlyMap<string, CheckpointEntry>,
  ) {}

  static open(dir: string): Checkpoint {
    const source = sources.find((name) => existsSync(join(dir, name)));
    if (source === undefined) return rejectWithout(dir);
    return source.endsWith(".json") ? Checkpoint.ofShards(dir, source) : Checkpoint.ofFile(dir, source);
  }

  names(): string[] {
    return [...this.entries.keys()];
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  /** Throws ERR_WEIGHTS if there is no such tensor. */
  entry(name: string): CheckpointEntry {
    return this.entries.get(name) ?? reject(this.dir, `expected a tensor ${quoted(name)}, got none`);
  }

  /** Bytes of all tensors. */
  get totalBytes(): number {
    let total = 0;
    for (const entry of this.entries.values()) total += entry.bytes;
    return total;
  }

  private static ofFile(dir: string, name: string): Checkpoint {
    const file = fileInside(dir, name);
    const header = readHeader(file, name);
    const entries = new Map<string, CheckpointEntry>();
    for (const [tensor, entry] of header.tensors) entries.set(tensor, { ...entry, file });
    return new Checkpoint(dir, new Map([[file, { bytes: header.fileBytes }]]), entries);
  }

  /** The index decides: a tensor that a shard has and the index does not name is not part of the model. */
  private static ofShards(dir: string, indexName: string): Checkpoint {
    const weightMap = readWeightMap(join(dir, indexName));
    const shards = new Map<string, { file: string; header: WeightHeader }>();
    const entries = new Map<string, CheckpointEntry>();
    for (const [tensor, name] of weightMap) {
      let shard = shards.get(name);
      if (shard === undefined) {
        const file = fileInside(dir, name);
        shard = { file, header: readHeader(file, name) };
        shards.set(name, shard);
      }
      const entry = shard.header.tensors.get(tensor);
      if (entry === undefined) {
        return reject(
          shard.file,
          `expected tensor ${quoted(tensor)}, as ${indexName} says, got none; download both again`,
        );
      }
      entries.set(tensor, { ...entry, file: shard.file });
    }
    const files = [...shards.values()].map(({ file, header }) => [file, { bytes: header.fileBytes }] as const);
    return new Checkpoint(dir, new Map(files), entries);
  }
}

/** By the name that leads to the file: in the hub's cache the file itself is called by its sum. */
function readHeader(file: string, name: string): WeightHeader {
  return name.endsWith(".bin") ? readTorchHeader(file) : readSafetensorsHeader(file);
}

function rejectWithout(dir: string): never {
  const looked = `one of ${sources.join(", ")}`;
  if (!existsSync(dir)) reject(dir, `expected a directory with ${looked}, got no such directory`);
  return reject(dir, `expected ${looked}, got none of them; download the weights, or use dummy weights`);
}

/** Tensor name to shard name. */
function readWeightMap(path: string): Map<string, string> {
  const fail = (message: string): never => reject(path, `${message}; download the file again`);
  const weightMap = new Map<string, string>();
  let found = false;
  const cursor = new JsonCursor(readIndex(path), fail);
  cursor.object("an object", (key) => {
    if (key !== "weight_map") return cursor.skip();
    found = true;
    cursor.object('"weight_map", an object of file names', (tensor) => {
      const shard = cursor.string(`the file name of ${quoted(tensor)}, a string`);
      checkShardName(shard, tensor, fail);
      weightMap.set(tensor, shard);
    });
  });
  cursor.end();
  if (!found || weightMap.size === 0) fail(`expected tensors in "weight_map", got ${found ? "none" : "no such key"}`);
  return weightMap;
}

function readIndex(path: string): string {
  try {
    const { size } = statSync(path);
    if (size <= maxIndexBytes) return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (cause) {
    return reject(path, `cannot be read (${(cause as Error).message})`, cause);
  }
  return reject(path, `expected at most ${maxIndexBytes} bytes, got more`);
}

function checkShardName(shard: string, tensor: string, fail: (message: string) => never): void {
  if (shard === "" || shard === "." || shard === ".." || /[/\\\0]/.test(shard)) {
    fail(`expected the name of a file in the same directory for ${quoted(tensor)}, got ${quoted(shard)}`);
  }
}

/**
 * The real path of `name` in `dir`. A symbolic link may not lead out of the directory, since a downloaded one could point
 * at anything; the exception is the hub's cache, where snapshots/<revision>/* are links to ../../blobs/*.
 */
function fileInside(dir: string, name: string): string {
  const path = join(dir, name);
  let root: string;
  let file: string;
  try {
    root = realpathSync(dir);
    file = realpathSync(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return reject(path, "expected this weight file, got no such file; download it", cause);
    return reject(path, `cannot be opened (${message})`, cause);
  }
  const roots = [root];
  const snapshots = dirname(root);
  if (basename(snapshots) === "snapshots") roots.push(join(dirname(snapshots), "blobs"));
  if (!roots.some((folder) => file.startsWith(folder + sep))) {
    reject(path, `expected a file in ${root}, got a link to ${file}; copy the file, or link the whole directory`);
  }
  return file;
}
