import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

export interface FileRequest {
  readonly path: string;
  /** First byte that was asked for; 0 without a range. */
  readonly start: number;
  readonly end: number;
  readonly authorization: string | undefined;
}

/** What is wrong with an answer to a request for a file; nothing where it is null. */
export type Fault =
  | { readonly cutAfter: number }
  | { readonly silentAfter: number }
  | { readonly status: number; readonly headers?: Record<string, string> }
  | { readonly ignoreRange: true }
  | { readonly silent: true }
  | { readonly redirect: string }
  | { readonly shiftRange: number };

/** A hub with one model on 127.0.0.1, with the routes of huggingface.co that are used. */
export class LoopbackHub {
  readonly requests: FileRequest[] = [];
  /** Statuses that listings have instead of an answer, in order. */
  readonly listingFaults: number[] = [];
  fault: (request: FileRequest, count: number) => Fault | null = () => null;
  /** A key that each request to the hub itself needs. */
  token: string | null = null;
  url = "";
  private readonly server = createServer((request, response) => this.answer(request, response));

  private constructor(
    private readonly name: string,
    private readonly files: ReadonlyMap<string, Buffer>,
    /** Sums that the listing names instead of the right ones. */
    private readonly sums: Readonly<Record<string, string>>,
  ) {}

  static async start(
    name: string,
    files: Readonly<Record<string, Buffer | string>>,
    sums: Readonly<Record<string, string>> = {},
  ): Promise<LoopbackHub> {
    const entries = Object.entries(files).map(([path, content]) => [path, Buffer.from(content)] as const);
    const hub = new LoopbackHub(name, new Map(entries), sums);
    await new Promise<void>((resolve) => hub.server.listen(0, "127.0.0.1", resolve));
    hub.url = `http://127.0.0.1:${(hub.server.address() as AddressInfo).port}`;
    return hub;
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      this.server.closeAllConnections();
    });
  }

  private answer(request: IncomingMessage, response: ServerResponse): unknown {
    const { pathname } = new URL(request.url!, this.url);
    const [, file] = new RegExp(`^/${this.name}/resolve/${COMMIT}/(.*)$`).exec(pathname) ?? [];
    const { authorization } = request.headers;
    if (this.token !== null && authorization !== `Bearer ${this.token}`) return this.refuse(response, 401);
    if (file !== undefined) return this.answerFile(decodeURIComponent(file), request, response);
    const status = this.listingFaults.shift();
    if (status !== undefined) return this.refuse(response, status);
    if (pathname.startsWith(`/api/models/${this.name}/revision/`)) {
      const revision = pathname.split("/").at(-1)!;
      if (!["main", "v1", COMMIT].includes(revision)) return this.refuse(response, 404);
      return this.json(response, { _id: "1", id: this.name, sha: COMMIT, private: false, gated: false });
    }
    if (pathname === `/api/models/${this.name}/tree/${COMMIT}`) return this.json(response, this.tree());
    return this.refuse(response, 404);
  }

  private tree(): object[] {
    return [...this.files].map(([path, content]) => {
      const git = createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
      const entry = { type: "file", path, size: content.length, oid: this.sums[path] ?? git };
      if (!/safetensors$|bin$/.test(path)) return entry;
      const sum = createHash("sha256").update(content).digest("hex");
      return { ...entry, lfs: { oid: this.sums[path] ?? sum, size: content.length, pointerSize: 134 } };
    });
  }

  private answerFile(path: string, request: IncomingMessage, response: ServerResponse): unknown {
    const content = this.files.get(path);
    if (content === undefined) return this.refuse(response, 404);
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    const asked = { path, start: Number(from ?? 0), end: Number(to ?? content.length - 1) };
    const described = { ...asked, authorization: request.headers.authorization };
    this.requests.push(described);
    const fault = this.fault(described, this.requests.length);
    if (fault !== null && "status" in fault) return this.refuse(response, fault.status, fault.headers);
    if (fault !== null && "redirect" in fault) {
      return response.writeHead(302, { location: fault.redirect + request.url! }).end();
    }
    if (fault !== null && "silent" in fault) return undefined;
    const isPart = from !== undefined && !(fault !== null && "ignoreRange" in fault);
    const body = isPart ? content.subarray(asked.start, asked.end + 1) : content;
    const first = asked.start + (fault !== null && "shiftRange" in fault ? fault.shiftRange : 0);
    const range = { "content-range": `bytes ${first}-${asked.end}/${content.length}` };
    response.writeHead(isPart ? 206 : 200, { "content-length": body.length, ...(isPart ? range : {}) });
    if (fault !== null && "silentAfter" in fault) return response.write(body.subarray(0, fault.silentAfter));
    if (fault === null || !("cutAfter" in fault)) return response.end(body);
    return response.write(body.subarray(0, fault.cutAfter), () => response.destroy());
  }

  private json(response: ServerResponse, value: unknown): void {
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
  }

  private refuse(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
    response.writeHead(status, { "content-type": "application/json", ...headers }).end('{"error":"refused"}');
  }
}
