import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { LoopDelay } from "../../bench/loop-delay";

const root = join(__dirname, "..", "..");
const preloads = [join(root, "test", "helpers", "register.js"), join(root, "bench", "loop-delay.ts")];

/** Blocks its event loop for as many milliseconds as a message asks for, twice, and then says so. */
const program = `setInterval(() => {}, 1e6);
process.on("message", (ms) => {
  if (typeof ms !== "number") return;
  const block = () => { const end = performance.now() + ms; while (performance.now() < end); };
  setTimeout(block, 5);
  setTimeout(() => { block(); process.send("blocked"); }, 10);
});`;

test("what blocks between begin and end is measured, and nothing before", async () => {
  const args = [...preloads.flatMap((file) => ["-r", file]), "-e", program];
  const env = { ...process.env, LOOP_DELAY_PARENT: `${process.pid}` };
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const answer = async (...messages: readonly (string | number)[]) => {
    const answered = once(child, "message");
    for (const message of messages) child.send(message);
    return (await answered)[0] as unknown;
  };
  expect(await answer(900)).toBe("blocked");
  expect(await answer("begin", 60)).toBe("blocked");
  const { p50, p99, max } = (await answer("end")) as LoopDelay;
  expect(max).toBeGreaterThan(50);
  expect(max).toBeLessThan(900);
  expect(p99).toBeGreaterThanOrEqual(p50);
  child.kill();
  await once(child, "exit");
});
