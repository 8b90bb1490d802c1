import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

const root = join(__dirname, "..");

/** `serve` with the bundled model on a free port; its HTTP process answers what loop-delay.ts is asked. */
export async function startServer(...flags: readonly string[]): Promise<{ server: ChildProcess; url: string }> {
  const preloads = [join(root, "test", "helpers", "register.js"), join(__dirname, "loop-delay.ts")];
  const program = [...preloads.flatMap((file) => ["-r", file]), join(root, "src", "cli", "main.ts")];
  const args = [...program, "serve", "--port", "0", ...flags];
  const env = { ...process.env, LOOP_DELAY_PARENT: `${process.pid}` };
  const server = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit", "ipc"] });
  const url = await new Promise<string>((resolve, reject) => {
    let printed = "";
    server.stdout!.on("data", (text) => {
      printed += text;
      const match = /^Listening on (http:\S+)\n/m.exec(printed);
      if (match !== null) resolve(match[1]!);
    });
    server.on("exit", (code) => reject(new Error(`serve ended with ${code} before it listened`)));
  });
  return { server, url };
}
