import { existsSync, statSync } from "node:fs";
import { mkdir, readlink, rename, rm, statfs, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { EngineError } from "../errors";
import { type HubModel, ModelCache } from "./cache";
import { ggufFiles, ggufNames } from "./gguf-files";
import { Hub, type HubFile } from "./hub";
import { sumOf, type TransferLimits, transfer, transferLimits } from "./transfer";

export interface PullOptions {
  readonly hub?: Hub;
  /** Default: that of huggingface_hub, see cacheFolder(). */
  readonly cacheFolder?: string;
  readonly limits?: TransferLimits;
  /** Bytes that are there, of those that the model has. */
  readonly onProgress?: (bytes: number, total: number) => void;
}

export interface Pulled {
  /** The model directory. */
  readonly dir: string;
  /** What commands take as MODEL: the same, or the first file in GGUF in it. */
  readonly path: string;
  readonly commit: string;
  readonly files: number;
  readonly bytes: number;
  /** The part of these that had to be fetched. */
  readonly fetchedBytes: number;
}

const described = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "special_tokens_map.json",
];

/** Weights as src/weights reads them; the first kind that a model has is taken. */
const weightKinds = [
  /^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/,
  /^consolidated\.safetensors$/,
  /^pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?$/,
];

/** The files that are needed to run a model; a repository has many others. Small ones first. */
export function neededFiles(files: readonly HubFile[]): HubFile[] {
  const weights = weightKinds.map((kind) => files.filter(({ path }) => kind.test(path)));
  const chosen = weights.find((found) => found.some(({ path }) => !path.endsWith(".json"))) ?? [];
  const others = files.filter(({ path }) => described.includes(path));
  return [...others, ...chosen].sort((a, b) => a.bytes - b.bytes);
}

/**
 * Brings a model's files into the cache, where they are not there yet, and returns their folder. Every file has the sum that the hub
 * lists before it gets its name. Throws ERR_MODEL_NOT_FOUND, ERR_DOWNLOAD, and ERR_IO where the disk has no room.
 */
export async function pull(model: HubModel, options: PullOptions = {}): Promise<Pulled> {
  const { hub = Hub.ofEnvironment(), limits = transferLimits, onProgress = () => {} } = options;
  refuseOffline(model);
  const cache = new ModelCache(model, options.cacheFolder);
  const { commit, files: all } = await hub.list(model);
  const files = model.gguf === undefined ? neededFiles(all) : ggufOf(all, model.gguf);
  if (files.length === 0 || (model.gguf === undefined && !files.some(({ path }) => path === "config.json"))) {
    refuseWithout(model, all);
  }
  const missing: HubFile[] = [];
  for (const file of files) if (!(await isStored(cache, file))) missing.push(file);
  const bytes = sizeOf(files);
  const fetchedBytes = sizeOf(missing);
  const snapshot = cache.snapshotOf(commit);
  try {
    for (const folder of [cache.blobs, snapshot, dirname(cache.ref)]) await mkdir(folder, { recursive: true });
    await checkRoom(cache.dir, missing, cache);
    let done = bytes - fetchedBytes;
    for (const file of missing) {
      await transfer(
        {
          ...file,
          url: hub.fileUrl(model, commit, file),
          label: `${model.name}/${file.path}`,
          target: join(cache.blobs, file.sum),
          fetch: hub.fetch,
          onBytes: (count) => {
            done += count;
            onProgress(done, bytes);
          },
        },
        limits,
      );
    }
    for (const file of files) await link(join(cache.blobs, file.sum), join(snapshot, file.path));
    // The last thing: a revision that has a commit is complete.
    await writeFile(cache.ref, commit);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (EngineError.is(error) || code === undefined) throw error;
    throw new EngineError("ERR_IO", `${cache.dir}: ${message}`, { subject: cache.dir, cause: error });
  }
  const path = model.gguf === undefined ? snapshot : join(snapshot, files[0]!.path);
  return { dir: snapshot, path, commit, files: files.length, bytes, fetchedBytes };
}

function ggufOf(all: readonly HubFile[], tag: string): HubFile[] {
  const paths = ggufFiles(
    all.map(({ path }) => path),
    tag,
  );
  return paths.map((path) => all.find((file) => file.path === path)!);
}

/** ERR_MODEL_NOT_FOUND: says which files in GGUF there are to choose among. */
function refuseWithout({ name, revision, gguf }: HubModel, all: readonly HubFile[]): never {
  const names = ggufNames(all.map(({ path }) => path));
  const wanted = gguf === undefined ? "no config.json" : `not one file in GGUF for ${gguf}`;
  const remedy =
    names.length === 0
      ? "it is no model that can be run here"
      : `give one of its files in GGUF, as ${name}:${names[0]} or what tells it from the others: ${names.slice(0, 40).join(", ")}`;
  const message = `${name} (${revision}) has ${wanted}: ${remedy}`;
  throw new EngineError("ERR_MODEL_NOT_FOUND", message, { subject: name });
}

/** Throws ERR_DOWNLOAD where the environment says that no network may be asked. */
function refuseOffline({ name }: HubModel): void {
  if (!/^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? "")) return;
  throw new EngineError("ERR_DOWNLOAD", `${name} is not downloaded, as HF_HUB_OFFLINE is set`, { subject: name });
}

const sizeOf = (files: readonly HubFile[]) => files.reduce((sum, { bytes }) => sum + bytes, 0);

/** A blob has its name only after its sum was right; what has another size was damaged since, or comes from elsewhere. */
async function isStored(cache: ModelCache, { sum, bytes }: HubFile): Promise<boolean> {
  const path = join(cache.blobs, sum);
  if (!existsSync(path)) return false;
  if (statSync(path).size === bytes && (bytes > 1 << 20 || (await sumOf(path, bytes, kindOf(sum))) === sum))
    return true;
  await rm(path);
  return false;
}

const kindOf = (sum: string) => (sum.length === 64 ? "sha256" : "git");

async function checkRoom(dir: string, missing: readonly HubFile[], cache: ModelCache): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const begun = missing.reduce((sum, file) => {
    const part = join(cache.blobs, `${file.sum}.part`);
    return sum + (existsSync(part) ? statSync(part).blocks * 512 : 0);
  }, 0);
  const [needed, free] = [sizeOf(missing) - begun, bavail * bsize];
  if (needed <= free) return;
  throw new EngineError(
    "ERR_IO",
    `${dir}: ${needed} bytes are needed and ${free} are free; HF_HOME names another folder`,
    {
      subject: dir,
    },
  );
}

/** Relative, as huggingface_hub makes them: the cache can be moved. */
async function link(blob: string, name: string): Promise<void> {
  const target = relative(dirname(name), blob);
  if ((await readlink(name).catch(() => null)) === target) return;
  const fresh = `${name}.new`;
  await rm(fresh, { force: true });
  await symlink(target, fresh);
  await rename(fresh, name);
}
