import { join } from "node:path";
import { Sandbox } from "../../src/tokenizer/sandbox/sandbox";

const program = join(__dirname, "sandbox-program");

type Reply = { job: unknown; pid: number; env: string[] };

async function using<T>(data: unknown, body: (run: (job: object) => Promise<Reply>, sandbox: Sandbox) => Promise<T>) {
  const sandbox = new Sandbox({ program, data: () => data, heapMiB: 64 });
  try {
    return await body((job) => sandbox.run(job, 250) as Promise<Reply>, sandbox);
  } finally {
    await sandbox.close();
  }
}

it("keeps one process warm, outside of this one and without its environment", () =>
  using(null, async (run) => {
    const first = await run({ value: [1, "é"] });
    expect(first.job).toEqual({ value: [1, "é"] });
    expect(first.pid).not.toBe(process.pid);
    expect(first.env.filter((name) => !name.startsWith("NODE_CHANNEL") && name !== "TZ")).toEqual([]);
    expect((await run({})).pid).toBe(first.pid);
  }));

it("replaces a process that overran or ended, and runs what was waiting", () =>
  using(null, async (run) => {
    const { pid } = await run({});
    const late = run({ sleepMs: 10_000 });
    const waiting = run({ n: 1 });
    await expect(late).rejects.toMatchObject({ reason: "deadline" });
    const next = await waiting;
    expect(next.pid).not.toBe(pid);
    await expect(run({ exit: true })).rejects.toMatchObject({ reason: "died" });
    expect((await run({})).pid).not.toBe(next.pid);
  }));

it("names what keeps it from starting", () =>
  using("broken", async (run) => {
    await expect(run({})).rejects.toMatchObject({ reason: "start", message: "cannot start" });
    await expect(run({})).rejects.toMatchObject({ reason: "start" });
  }));

it("fails what runs and what waits when it is closed", () =>
  using(null, async (run, sandbox) => {
    await run({});
    const outcomes = Promise.allSettled([run({ sleepMs: 200 }), run({})]);
    await sandbox.close();
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ reason: { reason: "closed" } });
    await expect(run({})).rejects.toMatchObject({ reason: "closed" });
  }));

it("gives a job's own error with its kind", () =>
  using(null, async (run) => {
    await expect(run({ fail: "mine" })).rejects.toMatchObject({ reason: "job", message: "failed", kind: "mine" });
    await expect(run({ fail: undefined })).resolves.toBeDefined();
  }));
