import { EngineError, type ErrorCode, errorTable } from "../errors";
import type { Addon } from "./abi";
import { loadAddon } from "./load";

/** Set TRACE=ops to print every native call before it runs: after a crash the last line names the culprit. */
const trace = process.env.TRACE === "ops";

type Names = Extract<
  { [K in keyof Addon]: Addon[K] extends (...args: never[]) => unknown ? K : never }[keyof Addon],
  string
>;
type Native = Record<string, (...args: unknown[]) => unknown>;

/** Calls the addon; a native failure is rethrown as an EngineError whose stack is the caller's. */
export function call<Name extends Names>(name: Name, ...args: Parameters<Addon[Name]>): ReturnType<Addon[Name]> {
  if (trace) process.stderr.write(`${name}(${args.map(traceText).join(", ")})\n`);
  try {
    return (loadAddon() as unknown as Native)[name]!(...args) as ReturnType<Addon[Name]>;
  } catch (error) {
    throw toEngineError(error, call);
  }
}

/** The same for calls that return a promise. The stack of a failure names who awaits it: taking the caller's costs a step 40 us. */
export function callAsync<Name extends Names>(name: Name, ...args: Parameters<Addon[Name]>): Promise<void> {
  const promise = call(name, ...args) as unknown as Promise<void>;
  return promise.catch((error: unknown) => {
    throw toEngineError(error);
  });
}

/** `below`: the call whose caller the stack begins with; without it the stack is of this moment. */
function toEngineError(error: unknown, below?: (...args: never[]) => unknown): EngineError {
  if (EngineError.is(error)) return error;
  const { code, op, message } = error as { code?: string; op?: string; message?: string };
  const known = code !== undefined && code in errorTable;
  const failure = new EngineError(known ? (code as ErrorCode) : "ERR_ARGUMENT", message ?? String(error), {
    cause: error,
    ...(op === undefined ? {} : { subject: op }),
  });
  if (below !== undefined) Error.captureStackTrace(failure, below);
  return failure;
}

function traceText(arg: unknown): string {
  return ArrayBuffer.isView(arg) ? `${arg.constructor.name}[${arg.byteLength} bytes]` : String(arg);
}
