import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { EngineError } from "../errors";
import { reasonOf, refusal } from "./hub";

/** What is transferred, from where and to where. */
export interface Transfer {
  readonly url: string;
  /** Names the file in messages. */
  readonly label: string;
  readonly bytes: number;
  /** SHA-256 of the bytes, or the SHA-1 of a git blob with them. */
  readonly sum: string;
  /** Has the file once it is whole and its sum is right, and not before. */
  readonly target: string;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Called with the bytes that have come since it was last called; negative where some are fetched again. */
  readonly onBytes: (bytes: number) => void;
}

export interface TransferLimits {
  /** A file is fetched in parts of so many bytes, so many of them at once. */
  readonly partBytes: number;
  readonly connections: number;
  /** Answers in a row that bring nothing before a part is given up. */
  readonly attempts: number;
  /** Wait after the first of them, doubled after each further one; a server's Retry-After counts instead, up to the longest. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** Silence after which a connection is given up. */
  readonly stallMs: number;
}

export const transferLimits: TransferLimits = {
  partBytes: 64 << 20,
  connections: 8,
  attempts: 6,
  firstDelayMs: 500,
  maxDelayMs: 60_000,
  stallMs: 30_000,
};

/** What has come is written down this often, in bytes. */
const JOURNAL_BYTES = 4 << 20;

/** The server sends a file only as a whole. */
class NoRanges extends Error {}

/**
 * Fetches a file in parts, several at once, each going on where it was cut, also where an earlier process was. Its progress is in
 * `target`.journal beside the data in `target`.part; both are gone at the end. Throws ERR_DOWNLOAD where the server refuses, where
 * nothing comes any more, and where the whole has another sum: then nothing of it is kept.
 */
export async function transfer(given: Transfer, limits: TransferLimits = transferLimits): Promise<void> {
  const data = `${given.target}.part`;
  const journal = `${given.target}.journal`;
  const parts = await readJournal(journal, given.bytes, limits.partBytes);
  given.onBytes(parts.done.reduce((sum, bytes) => sum + bytes, 0));
  const file = await open(data, "a").then(async (created) => {
    await created.close();
    return open(data, "r+");
  });
  try {
    await new FileTransfer(given, limits, file, parts, journal).run();
  } finally {
    await file.close();
  }
  const sum = await sumOf(data, given.bytes, given.sum.length === 64 ? "sha256" : "git");
  await rm(journal, { force: true });
  if (sum !== given.sum) {
    await rm(data);
    const message = `${given.label}: expected the sum ${given.sum}, got ${sum}; what came was thrown away`;
    throw new EngineError("ERR_DOWNLOAD", message, { subject: given.label });
  }
  await rename(data, given.target);
}

interface Parts {
  readonly partBytes: number;
  /** Bytes of each part that have come. */
  readonly done: number[];
}

async function readJournal(path: string, bytes: number, partBytes: number): Promise<Parts> {
  const fresh = (size: number): Parts => ({ partBytes: size, done: Array(Math.ceil(bytes / size)).fill(0) });
  try {
    const { partBytes: size, done } = JSON.parse(await readFile(path, "utf8")) as Parts;
    const isOurs = size > 0 && done.length === Math.ceil(bytes / size) && done.every((n) => n >= 0 && n <= size);
    return isOurs ? { partBytes: size, done } : fresh(partBytes);
  } catch {
    return fresh(partBytes); // a new file, or a journal that was cut off itself
  }
}

class FileTransfer {
  private next = 0;
  /** Bytes that have come since the journal was written. */
  private unwritten = 0;
  private journaled = Promise.resolve();
  private hasFailed = false;
  /** Those that run. Their signals are not combined with one of the whole: Node 20 may collect such a signal as garbage. */
  private readonly requests = new Set<AbortController>();

  constructor(
    private readonly given: Transfer,
    private readonly limits: TransferLimits,
    private readonly file: FileHandle,
    private readonly parts: Parts,
    private readonly journal: string,
  ) {}

  async run(): Promise<void> {
    const { done } = this.parts;
    const workers = Array.from({ length: Math.min(this.limits.connections, done.length) }, () => this.work());
    const results = await Promise.allSettled(workers);
    await this.writeJournal();
    const reasons = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
    if (reasons.length === 0) return;
    if (!reasons.some((reason) => reason instanceof NoRanges)) throw reasons.find(EngineError.is) ?? reasons[0];
    await this.runWhole();
  }

  /** From a server without ranges: one connection, and from the start each time. */
  private async runWhole(): Promise<void> {
    this.given.onBytes(-this.parts.done.reduce((sum, bytes) => sum + bytes, 0));
    const whole: Parts = { partBytes: this.given.bytes, done: [0] };
    await new FileTransfer(this.given, { ...this.limits, connections: 1 }, this.file, whole, this.journal).part(0);
  }

  private async work(): Promise<void> {
    try {
      while (this.next < this.parts.done.length && !this.hasFailed) await this.part(this.next++);
    } catch (error) {
      this.hasFailed = true;
      for (const request of this.requests) request.abort(); // the others stop, too
      throw error;
    }
  }

  private sizeOf(part: number): number {
    return Math.min(this.parts.partBytes, this.given.bytes - part * this.parts.partBytes);
  }

  private async part(part: number): Promise<void> {
    const { done } = this.parts;
    const { attempts, firstDelayMs, maxDelayMs } = this.limits;
    let idle = 0;
    while (done[part]! < this.sizeOf(part) && !this.hasFailed) {
      const before = done[part]!;
      const problem = await this.attempt(part);
      if (done[part] === this.sizeOf(part)) return;
      idle = done[part]! > before ? 0 : idle + 1;
      if (idle >= attempts) throw this.error(`${problem.reason}, ${attempts} times in a row`);
      const delay = problem.retryAfterMs ?? firstDelayMs * 2 ** Math.max(0, idle - 1);
      await wait(Math.min(delay, maxDelayMs));
    }
  }

  /** One request for what is missing of a part. Says what it ended with; throws where there is no use in another one. */
  private async attempt(part: number): Promise<{ reason: string; retryAfterMs?: number }> {
    const { partBytes, done } = this.parts;
    const { bytes, url } = this.given;
    const start = part * partBytes + done[part]!;
    const end = part * partBytes + this.sizeOf(part) - 1;
    const isWhole = start === 0 && end === bytes - 1;
    const request = new AbortController();
    const { signal } = request;
    let isSilent = false;
    const alarm = setTimeout(() => {
      isSilent = true;
      request.abort();
    }, this.limits.stallMs);
    this.requests.add(request);
    try {
      // Compressed bytes have other positions.
      const headers = { "accept-encoding": "identity", ...(isWhole ? {} : { range: `bytes=${start}-${end}` }) };
      const response = await this.given.fetch(url, { headers, signal });
      if (response.status === 200 && !isWhole) {
        discard(response);
        if (this.parts.done.length > 1) throw new NoRanges();
        this.received(part, -done[part]!); // the only part, and it comes from its start
        return { reason: "the server sends no parts of files" };
      }
      if (response.status !== (isWhole ? 200 : 206)) return this.refused(response);
      this.checkRange(response, start);
      for await (const piece of pieces(response, signal)) {
        alarm.refresh();
        const at = part * partBytes + done[part]!;
        if (at + piece.length > end + 1) throw this.error("the server sends more than it was asked for");
        await this.file.write(piece, 0, piece.length, at);
        this.received(part, piece.length);
        this.unwritten += piece.length;
        if (this.unwritten >= JOURNAL_BYTES) await this.writeJournal();
        if (done[part] === this.sizeOf(part)) break;
      }
      return { reason: "the connection was cut" };
    } catch (error) {
      if (EngineError.is(error) || error instanceof NoRanges || this.hasFailed) throw error;
      if ((error as NodeJS.ErrnoException).code === "ENOSPC") throw this.error("the disk is full");
      return { reason: isSilent ? "the server went silent" : reasonOf(error) };
    } finally {
      clearTimeout(alarm);
      this.requests.delete(request);
    }
  }

  private received(part: number, bytes: number): void {
    this.parts.done[part]! += bytes;
    this.given.onBytes(bytes);
  }

  private refused(response: Response): { reason: string; retryAfterMs?: number } {
    discard(response);
    const { status, headers } = response;
    const reason = refusal(status, this.given.label);
    if (status !== 408 && status !== 429 && status < 500) throw this.error(reason);
    const seconds = Number(headers.get("retry-after") ?? Number.NaN);
    return seconds >= 0 ? { reason, retryAfterMs: seconds * 1000 } : { reason };
  }

  private checkRange({ status, headers }: Response, start: number): void {
    if (status !== 206) return;
    const range = headers.get("content-range") ?? "";
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range) ?? [];
    if (Number(from) === start && (total === "*" || Number(total) === this.given.bytes)) return;
    throw this.error(
      `asked for ${this.given.bytes} bytes from ${start} on, the server sends ${range || "another range"}`,
    );
  }

  /** One after the other: parts come at the same time. */
  private writeJournal(): Promise<void> {
    this.unwritten = 0;
    this.journaled = this.journaled.then(async () => {
      await writeFile(`${this.journal}.new`, JSON.stringify(this.parts));
      await rename(`${this.journal}.new`, this.journal);
    });
    return this.journaled;
  }

  private error(reason: string): EngineError {
    return new EngineError("ERR_DOWNLOAD", `${this.given.label}: ${reason}`, { subject: this.given.label });
  }
}

/** The body as it comes. A read that an abort meets at the body's end never returns in Node 20, so the signal is watched here. */
async function* pieces({ body }: Response, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = body!.getReader();
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  aborted.catch(() => {}); // where nobody reads any more
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), aborted]);
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Lets the connection go on without the body. */
function discard(response: Response): void {
  response.body?.cancel().catch(() => {});
}

/** Reads a file of `bytes` bytes; "git" is the SHA-1 that git names a file by. */
export async function sumOf(path: string, bytes: number, kind: "sha256" | "git"): Promise<string> {
  const hash = createHash(kind === "git" ? "sha1" : "sha256");
  if (kind === "git") hash.update(`blob ${bytes}\0`);
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(piece as Buffer);
  return hash.digest("hex");
}
