import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { EngineError } from "../errors";
import { JsonCursor, quoted } from "./json-cursor";
import { readSafetensorsHeader, type SafetensorsHeader, type TensorEntry } from "./safetensors";

export interface CheckpointEntry extends TensorEntry {
  /** Real path of the file that holds the tensor, symbolic links resolved. */
  readonly file: string;
}

const indexName = "model.safetensors.index.json";
const maxIndexBytes = 100_000_000;

const convertCommand = [
  `python3 -c "import torch; from safetensors.torch import save_file;`,
  "s = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True);",
  `save_file({k: v.clone().contiguous() for k, v in s.items()}, 'model.safetensors', metadata={'format': 'pt'})"`,
].join(" ");

function reject(file: string, message: string, cause?: unknown): never {
  throw new EngineError("ERR_WEIGHTS", `${file}: ${message}`, { subject: file, cause });
}

/**
 * The tensors of a model directory, by the names that its files use. Looked for, in this order: model.safetensors,
 * model.safetensors.index.json with its shards, consolidated.safetensors. Only headers are read; every failure is
 * ERR_WEIGHTS, including a file that lies outside the directory.
 */
export class Checkpoint {
  private constructor(
    readonly dir: string,
    /** Size and name of each weight file, in the order of the index; whoever maps a file must find this size. */
    readonly files: ReadonlyMap<string, { readonly bytes: number }>,
    private readonly entries: ReadonlyMap<string, CheckpointEntry>,
  ) {}

  static open(dir: string): Checkpoint {
    const single = ["model.safetensors", "consolidated.safetensors"].filter((name) => existsSync(join(dir, name)));
    if (single[0] === "model.safetensors") return Checkpoint.ofFile(dir, single[0]);
    if (existsSync(join(dir, indexName))) return Checkpoint.ofShards(dir, readWeightMap(join(dir, indexName)));
    if (single[0] !== undefined) return Checkpoint.ofFile(dir, single[0]);
    return rejectWithout(dir);
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
    const header = readSafetensorsHeader(file);
    const entries = new Map<string, CheckpointEntry>();
    for (const [tensor, entry] of header.tensors) entries.set(tensor, { ...entry, file });
    return new Checkpoint(dir, new Map([[file, { bytes: header.fileBytes }]]), entries);
  }

  /** The index decides: a tensor that a shard has and the index does not name is not part of the model. */
  private static ofShards(dir: string, weightMap: ReadonlyMap<string, string>): Checkpoint {
    const shards = new Map<string, { file: string; header: SafetensorsHeader }>();
    const entries = new Map<string, CheckpointEntry>();
    for (const [tensor, name] of weightMap) {
      let shard = shards.get(name);
      if (shard === undefined) {
        const file = fileInside(dir, name);
        shard = { file, header: readSafetensorsHeader(file) };
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

function rejectWithout(dir: string): never {
  const looked = `model.safetensors, ${indexName} or consolidated.safetensors`;
  if (!existsSync(dir)) reject(dir, `expected a directory with ${looked}, got no such directory`);
  if (existsSync(join(dir, "pytorch_model.bin"))) {
    reject(dir, `expected ${looked}, got only pytorch_model.bin; convert it in that directory: ${convertCommand}`);
  }
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
