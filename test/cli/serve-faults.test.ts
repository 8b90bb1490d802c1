/** `serve` in surroundings that go away or run short. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { join } from "node:path";
import { start } from "./run";

const root = join(__dirname, "..", "..");

async function urlOf(stdout: NodeJS.ReadableStream): Promise<string> {
  let printed = "";
  for await (const data of stdout) {
    printed += data;
    const url = /^Listening on (http:\S+)$/m.exec(printed)?.[1];
    if (url !== undefined) return url;
  }
  throw new Error(`serve ended: ${printed}`);
}

const complete = async (url: string) => {
  const body = JSON.stringify({ prompt: "x", max_tokens: 2 });
  const headers = { "content-type": "application/json" };
  return (await fetch(`${url}/v1/completions`, { method: "POST", headers, body })).status;
};

test("nobody reads what it logs and prints", async () => {
  const child = start(["serve", "--port", "0", "--max-num-seqs", "2", "--log-level", "debug"]);
  const url = await urlOf(child.stdout);
  child.stdout.destroy();
  child.stderr.destroy();
  for (let i = 0; i < 5; i++) expect(await complete(url)).toBe(200);
  expect(child.exitCode).toBeNull();
  child.kill("SIGTERM");
  const [code] = await once(child, "close");
  expect(code).toBe(0);
});

test("it has few file descriptors: what is too much is turned away, and later all is well", async () => {
  const program = ["-r", join(root, "test", "helpers", "register.js"), join(root, "src", "cli", "main.ts")];
  const command = `ulimit -n 64; exec "$0" "$@"`;
  const args = ["-c", command, process.execPath, ...program, "serve", "--port", "0", "--max-num-seqs", "2"];
  const child = spawn("bash", args, { cwd: root });
  const url = await urlOf(child.stdout);
  const port = Number(new URL(url).port);
  const sockets = Array.from({ length: 100 }, () => net.connect({ port, host: "127.0.0.1" }).on("error", () => {}));
  await Promise.all(sockets.map((socket) => Promise.race([once(socket, "connect"), once(socket, "close")])));
  for (const socket of sockets) socket.destroy();
  // Its connections end as it learns of it.
  for (let status = 0; status !== 200; ) status = await complete(url).catch(() => 0);
  child.kill("SIGTERM");
  expect((await once(child, "close"))[0]).toBe(0);
});
