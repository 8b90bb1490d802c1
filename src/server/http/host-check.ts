import { isIP } from "node:net";
import { HttpError } from "./http-error";

/** Whether only this machine reaches an address. */
export const isLoopback = (host: string) => host === "localhost" || host === "::1" || /^127\./.test(host);

/** @param host the Host header, as "localhost:8000" or "[::1]:8000" */
function toHostname(host: string): string | undefined {
  if (!URL.canParse(`http://${host}`)) return undefined;
  return new URL(`http://${host}`).hostname.replace(/^\[(.*)\]$/, "$1");
}

/** Refuses names that are not allowed (see ServerOptions.allowedHosts). Addresses pass: DNS cannot point them elsewhere. */
export function checkHost(host: string | undefined, allowed: readonly string[] | null): void {
  if (allowed === null || host === undefined) return;
  const name = toHostname(host);
  if (name !== undefined && (name === "localhost" || isIP(name) !== 0 || allowed.includes(name))) return;
  throw new HttpError(403, "this server does not answer to the name in the Host header");
}
