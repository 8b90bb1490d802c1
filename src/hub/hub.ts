import { readFileSync } from "node:fs";
import { join } from "node:path";
import { EngineError } from "../errors";
import { type HubModel, hubHome, isCommit } from "./cache";

/** A file of a model, as the hub lists it. */
export interface HubFile {
  readonly path: string;
  readonly bytes: number;
  /** What its bytes have to have: SHA-256 where the hub keeps it as a large file, else the SHA-1 of a git blob. */
  readonly sum: string;
}

export interface Listing {
  readonly commit: string;
  readonly files: readonly HubFile[];
}

/** A hub's address and the key to it, from the variables of huggingface_hub. */
export class Hub {
  constructor(
    readonly url: string,
    private readonly token: string | null,
  ) {}

  static ofEnvironment(env: NodeJS.ProcessEnv = process.env): Hub {
    const url = (env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
    return new Hub(url, env.HF_TOKEN || readToken(env.HF_TOKEN_PATH || join(hubHome(env), "token")));
  }

  /** Fetch follows redirects to other hosts without the key. */
  readonly fetch = (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const headers = new Headers(init.headers);
    if (this.token !== null) headers.set("authorization", `Bearer ${this.token}`);
    headers.set("user-agent", "mamba-serve");
    return fetch(input, { ...init, headers });
  };

  /** Where the bytes of a file are. */
  fileUrl({ name }: HubModel, commit: string, { path }: HubFile): string {
    return `${this.url}/${name}/resolve/${commit}/${encodeURIComponent(path)}`;
  }

  /** The commit of a revision, and the files at its top. Throws ERR_MODEL_NOT_FOUND and ERR_DOWNLOAD. */
  async list(model: HubModel): Promise<Listing> {
    // Loaded when it is needed: no other command has a use for it.
    const { listFiles, modelInfo } = await import("@huggingface/hub");
    const { url: hubUrl, fetch } = this;
    try {
      const { sha } = await modelInfo({ ...model, additionalFields: ["sha"], hubUrl, fetch });
      if (!isCommit(sha)) throw new EngineError("ERR_DOWNLOAD", `${hubUrl} names no commit of ${model.name}`);
      const files: HubFile[] = [];
      for await (const entry of listFiles({ repo: model.name, revision: sha, hubUrl, fetch })) {
        if (entry.type === "file") files.push(toHubFile(entry));
      }
      return { commit: sha, files };
    } catch (error) {
      throw EngineError.is(error) ? error : listingError(model, hubUrl, error);
    }
  }
}

function toHubFile({
  path,
  size,
  oid,
  lfs,
}: {
  path: string;
  size: number;
  oid?: string;
  lfs?: { oid: string };
}): HubFile {
  const sum = lfs?.oid ?? oid ?? "";
  // The sum becomes the name of a file.
  if (/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(sum) && Number.isSafeInteger(size)) return { path, bytes: size, sum };
  throw new EngineError("ERR_DOWNLOAD", `${path}: the hub lists it without a size or a sum that can be checked`);
}

function listingError({ name, revision }: HubModel, url: string, cause: unknown): EngineError {
  const { statusCode } = cause as { statusCode?: number };
  const reason = statusCode === undefined ? reasonOf(cause) : refusal(statusCode, name);
  const code = statusCode === 404 ? "ERR_MODEL_NOT_FOUND" : "ERR_DOWNLOAD";
  return new EngineError(code, `${name} (${revision}) cannot be listed at ${url}: ${reason}`, { subject: name, cause });
}

/** What a status of the hub means for the one who asked. */
export function refusal(status: number, name: string): string {
  if (status === 401 || status === 403) {
    return `status ${status}: set HF_TOKEN to a token that may read ${name}; a gated model's terms are accepted on its page`;
  }
  if (status === 404) return "status 404: no such model, revision or file";
  if (status === 429) return "status 429: too many requests, try again later";
  return `status ${status}`;
}

/** Why a request got no answer, in the words of the system. */
export function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: { message?: string; code?: string }; message: string };
  return cause?.code ?? cause?.message ?? message;
}

function readToken(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim() || null;
  } catch {
    return null; // `hf auth login` writes it
  }
}
