import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ModelBuild } from "../../src/layers/build";
import { loadModelConfig } from "../../src/models/config";
import { loadModel } from "../../src/models/registry";
import { Device } from "../../src/tensor/device";
import { Checkpoint } from "../../src/weights/checkpoint";
import { DeviceLoader } from "../../src/weights/device-loader";
import { parseSafetensorsHeader } from "../../src/weights/safetensors";
import { WeightScope } from "../../src/weights/scope";
import { safetensors, vector } from "../weights/files";
import type { Target } from "./fuzz";

const golden = join(__dirname, "..", "golden", "mamba2");
const config = loadModelConfig(golden);
const CLOSING = 0x7d;

/** The golden model's file, its weights zero: no byte of them looks like the end of the header. */
function goldenFile(): Buffer {
  const file = readFileSync(join(golden, "model.safetensors"));
  return file.fill(0, 8 + Number(file.readBigUInt64LE(0)));
}

const headerEnd = (bytes: Buffer) => bytes.lastIndexOf(CLOSING) + 1;

/** Header, layout and shards, and then the weights themselves as a model takes them. */
export const safetensorsTarget: Target = {
  name: "safetensors",
  codes: ["ERR_WEIGHTS"],
  seeds: () => {
    const small = { a: vector(0, 3), b: { dtype: "BF16", shape: [2, 2], data_offsets: [12, 20] } };
    const shard = (name: string) =>
      Buffer.from(safetensors({ __metadata__: { format: "pt" }, [name]: vector(0, 2) }, 8));
    const weightMap = { x: "1.safetensors", y: "2.safetensors" };
    const index = Buffer.from(JSON.stringify({ metadata: { total_size: 16 }, weight_map: weightMap }));
    return [
      new Map([["model.safetensors", goldenFile()]]),
      new Map([["model.safetensors", Buffer.from(safetensors(small, 20))]]),
      new Map([
        ["model.safetensors.index.json", index],
        ["1.safetensors", shard("x")],
        ["2.safetensors", shard("y")],
      ]),
    ];
  },
  reach: (name, bytes) => (name.endsWith(".json") ? bytes.length : headerEnd(bytes)),
  repair: (name, bytes) => {
    if (name.endsWith(".json") || bytes.length < 8 || headerEnd(bytes) < 8) return bytes;
    const repaired = Buffer.from(bytes);
    repaired.writeBigUInt64LE(BigInt(headerEnd(bytes) - 8), 0);
    return repaired;
  },
  run: async (dir, input) => {
    const checkpoint = Checkpoint.open(dir);
    for (const name of checkpoint.names()) {
      const { file, offset, bytes } = checkpoint.entry(name);
      const inside = offset >= 8 && bytes >= 0 && offset + bytes <= checkpoint.files.get(file)!.bytes;
      if (!inside) throw new Error(`tensor ${name} lies outside its file`);
    }
    const file = input.get("model.safetensors");
    if (file !== undefined && parseSafetensorsHeader(file, "memory").tensors.size !== checkpoint.names().length) {
      throw new Error("the reader of files and that of bytes differ");
    }
    if (checkpoint.has("backbone.embeddings.weight")) await load(checkpoint);
    const types = checkpoint
      .names()
      .map((name) => `${checkpoint.entry(name).dtype}${checkpoint.entry(name).shape.length}`);
    return `${checkpoint.files.size} ${types}`;
  },
};

async function load(checkpoint: Checkpoint): Promise<void> {
  const filesBefore = readdirSync("/proc/self/fd").length;
  const device = Device.open({ kind: "cpu", threads: 1 });
  try {
    const loader = new DeviceLoader(device, "bf16");
    await loadModel(config, new ModelBuild(loader, { stateDtype: "f32" }), WeightScope.ofCheckpoint(checkpoint));
    loader.close();
  } finally {
    device.close();
  }
  if (readdirSync("/proc/self/fd").length > filesBefore) throw new Error("a file is left open");
}
