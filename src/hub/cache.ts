import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { ggufFiles } from "./gguf-files";

/** A model of the hub, as "org/name" or "org/name@revision"; one of several files in GGUF with ":tag" behind. */
export interface HubModel {
  /** org/name */
  readonly name: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** What tells a file in GGUF from the others, mostly its quantization; missing: a model with config.json. */
  readonly gguf?: string;
}

const part = "[A-Za-z0-9][\\w.-]{0,95}";
const hubName = new RegExp(`^(${part}/${part})(?:@(${part}(?:/${part})*))?(?::(${part}))?$`);

/** null where a text is no name of a model on the hub. Names become parts of paths: none has "..", or begins with a dot. */
export function parseHubModel(text: string): HubModel | null {
  const match = text.includes("..") ? null : hubName.exec(text);
  if (match === null) return null;
  const [, name, revision = "main", gguf] = match;
  return { name: name!, revision, ...(gguf === undefined ? {} : { gguf }) };
}

/** Where the Python library huggingface_hub keeps its downloads; both programs use what the other has downloaded. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.HF_HUB_CACHE) return expanded(env.HF_HUB_CACHE, env);
  return join(hubHome(env), "hub");
}

/** The folder of settings and downloads, HF_HOME. */
export function hubHome(env: NodeJS.ProcessEnv = process.env): string {
  return expanded(env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"), env);
}

/** "~" and "$NAME" as huggingface_hub reads them: in a unit of systemd or a container's environment no shell did. */
function expanded(path: string, env: NodeJS.ProcessEnv): string {
  const fromHome = path.replace(/^~(?=\/|$)/, () => homedir());
  return fromHome.replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, name, braced) => env[name ?? braced] ?? whole);
}

/**
 * One model's part of the cache: blobs/ has files by their sums, snapshots/COMMIT/ links to them by their names, refs/REVISION
 * has the commit of a revision.
 */
export class ModelCache {
  readonly dir: string;

  constructor(
    readonly model: HubModel,
    folder: string = cacheFolder(),
  ) {
    this.dir = join(folder, `models--${model.name.replace("/", "--")}`);
  }

  get blobs(): string {
    return join(this.dir, "blobs");
  }

  get ref(): string {
    return join(this.dir, "refs", this.model.revision);
  }

  snapshotOf(commit: string): string {
    return join(this.dir, "snapshots", commit);
  }

  /** The folder with the model's files, or its first file in GGUF; null where it has not been downloaded. */
  find(): string | null {
    const commit = isCommit(this.model.revision) ? this.model.revision : this.readRef();
    if (commit === null) return null;
    const snapshot = this.snapshotOf(commit);
    if (this.model.gguf !== undefined) {
      const [first] = ggufFiles(filesIn(snapshot), this.model.gguf);
      return first === undefined ? null : join(snapshot, first);
    }
    return existsSync(join(snapshot, "config.json")) ? snapshot : null;
  }

  private readRef(): string | null {
    try {
      const commit = readFileSync(this.ref, "utf8").trim();
      return isCommit(commit) ? commit : null;
    } catch {
      return null; // never downloaded
    }
  }
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // never downloaded
  }
}

export function isCommit(text: string): boolean {
  return /^[0-9a-f]{40}$/.test(text);
}

/** The downloaded files of a model; null where `text` is no name, or names what is not in the cache. Asks no network. */
export function cachedModel(text: string): string | null {
  const model = parseHubModel(text);
  return model === null ? null : new ModelCache(model).find();
}
