import { existsSync } from "node:fs";
import { join } from "node:path";
import { EngineError, type ErrorCode, errorTable } from "../errors";
import type { Addon } from "./abi";
import { OP_ROWS } from "./op-rows";

const root = join(__dirname, "..", "..");

/** Where the builds put the addon; the first that exists is taken. */
const candidates = [
  process.env.MAMBA_SERVE_ADDON,
  join(root, "build", "Release", "mamba_serve.node"),
  join(root, "build", "Debug", "mamba_serve.node"),
].filter((path): path is string => path !== undefined && path !== "");

let loaded: Addon | undefined;

/**
 * The native addon, loaded on first use. What its functions throw are EngineErrors. Throws ERR_NOT_BUILT with the command that
 * builds it.
 */
export function addon(): Addon {
  loaded ??= load();
  return loaded;
}

function load(): Addon {
  const path = addonPath();
  if (path === undefined) {
    throw new EngineError(
      "ERR_NOT_BUILT",
      "the native addon is not built; run `npm run build` in the project's folder",
    );
  }
  let found: Addon;
  try {
    found = require(path) as Addon;
  } catch (cause) {
    throw new EngineError("ERR_NOT_BUILT", `cannot load ${path}: ${String(cause)}; rebuild it with \`npm run build\``, {
      cause,
    });
  }
  if (typeof found.openDevice !== "function") {
    throw new EngineError("ERR_NOT_BUILT", `${path} is not the addon of mamba-serve; check MAMBA_SERVE_ADDON`);
  }
  if (found.opRows !== OP_ROWS) {
    throw new EngineError("ERR_NOT_BUILT", `${path} was built from another list of ops; rebuild it: \`npm run build\``);
  }
  found.setErrorFactory(nativeError);
  return process.env.TRACE === "ops" ? traced(found) : found;
}

/** The file that addon() loads, or undefined when there is none. */
export function addonPath(): string | undefined {
  return candidates.find((path) => existsSync(path));
}

/** Called by the addon where it fails: the stack is that of the native call's caller. */
function nativeError(code: string, message: string, subject: string): EngineError {
  const known = code in errorTable ? (code as ErrorCode) : "ERR_ARGUMENT";
  const error = new EngineError(known, message, { subject });
  Error.captureStackTrace(error, nativeError);
  return error;
}

/** With TRACE=ops every native call is printed before it runs: after a crash the last line names the culprit. */
function traced(found: Addon): Addon {
  const entries = Object.entries(found).map(([name, value]: [string, unknown]) => {
    if (typeof value !== "function") return [name, value];
    const call = (...args: unknown[]): unknown => {
      process.stderr.write(`${name}(${args.map(traceText).join(", ")})\n`);
      return value(...args);
    };
    return [name, call];
  });
  return Object.fromEntries(entries) as Addon;
}

function traceText(arg: unknown): string {
  return ArrayBuffer.isView(arg) ? `${arg.constructor.name}[${arg.byteLength} bytes]` : String(arg);
}
