// node -r ./test/helpers/register.js test/hub/large-file.ts: a file of 1 GB, whose connections are cut ten times, arrives whole.
import { createHash, randomFillSync } from "node:crypto";
import { createReadStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hub } from "../../src/hub/hub";
import { pull } from "../../src/hub/pull";
import { LoopbackHub } from "../helpers/loopback-hub";

const CUTS = 10;

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece);
  return hash.digest("hex");
}

async function main(): Promise<void> {
  const weights = Buffer.allocUnsafe(1e9);
  randomFillSync(weights);
  const folder = mkdtempSync(join(tmpdir(), "hub-large-"));
  const hub = await LoopbackHub.start("org/name", { "config.json": "{}", "model.safetensors": weights });
  let cuts = 0;
  hub.fault = ({ path, start, end }) => {
    if (path === "config.json" || cuts === CUTS) return null;
    cuts += 1;
    return { cutAfter: Math.floor((end - start) / 2) };
  };
  try {
    const begin = performance.now();
    const model = { name: "org/name", revision: "main" };
    const { dir } = await pull(model, { hub: new Hub(hub.url, null), cacheFolder: folder });
    const seconds = (performance.now() - begin) / 1000;
    const isWhole =
      (await sha256(join(dir, "model.safetensors"))) === createHash("sha256").update(weights).digest("hex");
    const asked = hub.requests.reduce((sum, { start, end }) => sum + end - start + 1, 0);
    console.log(
      `${isWhole ? "whole" : "NOT WHOLE"}: 1 GB, ${cuts} cuts, ${hub.requests.length} requests for ${asked} bytes, ${seconds.toFixed(1)} s`,
    );
    process.exitCode = isWhole && cuts === CUTS ? 0 : 1;
  } finally {
    await hub.close();
    rmSync(folder, { recursive: true });
  }
}

void main();
