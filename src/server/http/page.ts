import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { FastifyReply, FastifyRequest } from "fastify";

/** Where the page's files other than index.html are, in the folder web/ of this package by the same names. */
export const pageFilesUrl = "/ui/*";

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Nothing from elsewhere, nothing inline, no text that becomes HTML or script, and no page around it. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const headers = {
  "content-security-policy": policy,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-cache",
};

interface PageFile {
  readonly type: string;
  readonly body: Buffer;
}

/** The web page: its files, read once and served from memory. */
export class Page {
  readonly #files: ReadonlyMap<string, PageFile>;

  constructor() {
    const folder = path.join(__dirname, "../../../web");
    this.#files = new Map(
      readdirSync(folder).flatMap((name): [string, PageFile][] => {
        const type = types[path.extname(name)];
        return type === undefined ? [] : [[name, { type, body: readFileSync(path.join(folder, name)) }]];
      }),
    );
  }

  has(name: string): boolean {
    return this.#files.has(name);
  }

  /** @param name one that it has */
  send(reply: FastifyReply, name: string): FastifyReply {
    const { type, body } = this.#files.get(name)!;
    return reply.headers(headers).type(type).send(body);
  }
}

/** The weight of a media type that an Accept header names; 0 where it does not. */
function weight(accept: string, type: string): number {
  for (const part of accept.split(",")) {
    const [name, ...parameters] = part.split(";").map((text) => text.trim().toLowerCase());
    if (name !== type) continue;
    const q = parameters.find((parameter) => parameter.startsWith("q="));
    return q === undefined ? 1 : Number(q.slice(2)) || 0;
  }
  return 0;
}

/** Whether the client asks for a page, as browsers do, and not for JSON or for anything, as programs do. */
export function wantsPage({ headers: { accept = "" } }: FastifyRequest): boolean {
  return weight(accept, "text/html") > weight(accept, "application/json");
}

/** Whether the answer is a part of the page, which is the same text for everybody. */
export function isForPage(request: FastifyRequest): boolean {
  const { url } = request.routeOptions;
  return url === pageFilesUrl || (url === "/" && wantsPage(request));
}
