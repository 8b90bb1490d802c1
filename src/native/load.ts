import { existsSync } from "node:fs";
import { join } from "node:path";
import { EngineError, type ErrorCode, errorTable } from "../errors";
import type { Addon } from "./abi";
import { OP_ROWS } from "./op-rows";
import { ADDON_FILE, howToGetAddon, prebuiltAddons } from "./prebuilt";

const root = join(__dirname, "..", "..");

/** Where an addon may be, in order: the file that was asked for, what was built here, what was installed. */
function* candidates(): Iterable<string> {
  const { MAMBA_SERVE_ADDON: given } = process.env;
  if (given) yield given;
  yield join(root, "build", "Release", ADDON_FILE);
  yield join(root, "build", "Debug", ADDON_FILE);
  yield* prebuiltAddons();
}

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
    throw new EngineError("ERR_NOT_BUILT", `the native addon is missing: ${howToGetAddon()}`);
  }
  let found: Addon;
  try {
    found = require(path) as Addon;
  } catch (cause) {
    throw new EngineError("ERR_NOT_BUILT", `cannot load ${path}: ${String(cause)}; ${howToGetAddon()}`, { cause });
  }
  if (typeof found.openDevice !== "function") {
    throw new EngineError("ERR_NOT_BUILT", `${path} is not the addon of mamba-serve; check MAMBA_SERVE_ADDON`);
  }
  if (found.opRows !== OP_ROWS) {
    throw new EngineError(
      "ERR_NOT_BUILT",
      `${path} was built from another list of ops than this version has; ${howToGetAddon()}`,
    );
  }
  found.setErrorFactory(nativeError);
  return process.env.TRACE === "ops" ? traced(found) : found;
}

/** The file that addon() loads, or undefined when there is none. */
export function addonPath(): string | undefined {
  for (const path of candidates()) if (existsSync(path)) return path;
  return undefined;
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
