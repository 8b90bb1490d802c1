/** What runs in a sandbox process: node child.js PROGRAM. It answers each message of its parent. */
import { Script } from "node:vm";

/** What a program module exports as `start`: makes of the sandbox's data what runs each job, at once or by a promise. */
export type SandboxProgram<Data, Payload, Result> = (data: Data) => (payload: Payload) => Result | Promise<Result>;

/** The first message has the data; each later one a job. */
export type Message =
  | { readonly data: unknown }
  | { readonly id: number; readonly payload: unknown; readonly deadlineMs: number };

export interface Reply {
  /** Number of the job; none in the answer to the first message. */
  readonly id?: number;
  readonly value?: unknown;
  readonly error?: { readonly message: string; readonly kind?: string };
}

const sandbox: { run: ((payload: unknown) => unknown) | undefined; payload: unknown } = {
  run: undefined,
  payload: undefined,
};
Object.assign(globalThis, { sandbox });
const script = new Script("sandbox.run(sandbox.payload)");

async function answer(message: Message): Promise<Reply> {
  const id = "id" in message ? { id: message.id } : {};
  try {
    if ("data" in message) {
      const { start } = require(process.argv[2]!) as { start: SandboxProgram<unknown, unknown, unknown> };
      sandbox.run = start(message.data);
      return {};
    }
    sandbox.payload = message.payload;
    // The parent's own limit comes first. This one ends the process where a parent that was killed left it in an endless loop.
    return { ...id, value: await script.runInThisContext({ timeout: 2 * message.deadlineMs }) };
  } catch (error) {
    const { message: text = String(error), kind } = (error ?? {}) as { message?: unknown; kind?: unknown };
    return { ...id, error: { message: String(text), ...(kind === undefined ? {} : { kind: String(kind) }) } };
  } finally {
    sandbox.payload = undefined;
  }
}

process.on("disconnect", () => process.exit());
process.on("message", async (message: Message) => process.send!(await answer(message)));
