import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens, sameBits } from "../helpers/golden";
import { ModelHarness } from "../helpers/model-harness";

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** The same bytes under other names, or as other tensors. */
function rewriteTensors(file: Buffer, rewrite: (name: string, entry: Entry) => [string, Entry][]): Buffer {
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + headerBytes).toString()) as Record<string, Entry>;
  const { __metadata__, ...tensors } = header;
  const renamed = Object.fromEntries(Object.entries(tensors).flatMap(([name, entry]) => rewrite(name, entry)));
  const text = Buffer.from(JSON.stringify(renamed));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, file.subarray(8 + headerBytes)]);
}

function renameTensors(file: Buffer, rename: (name: string) => string): Buffer {
  return rewriteTensors(file, (name, entry) => [[rename(name), entry]]);
}

/** A tensor [n, ...] as n tensors. */
function unstacked(
  { dtype, shape, data_offsets: [begin, end] }: Entry,
  nameOf: (i: number) => string,
): [string, Entry][] {
  const [count, ...rest] = shape as [number, ...number[]];
  const bytes = (end - begin) / count;
  return Array.from({ length: count }, (_, i) => [
    nameOf(i),
    { dtype, shape: rest, data_offsets: [begin + i * bytes, begin + (i + 1) * bytes] },
  ]);
}

let dir: string;
let device: Device;
beforeAll(() => {
  device = Device.open({ kind: testDevices[0]!, threads: 2 });
});
afterAll(() => device.close());
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "model-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

async function expectSameLogits(modelDir: string): Promise<void> {
  const ids = goldens[0]!.ids("input_ids.1");
  const [original, other] = [await ModelHarness.load(modelDir, "f32"), await ModelHarness.load(dir, "f32")];
  expect(sameBits(await other.run(ids, []), await original.run(ids, []))).toBe(true);
  original.close();
  other.close();
}

const golden = goldens[0]!;

test("a state-spaces checkpoint gives the logits of its Hugging Face form", async () => {
  const config = {
    d_model: 64,
    n_layer: 2,
    vocab_size: 256,
    ssm_cfg: { layer: "Mamba2" },
    rms_norm: true,
    residual_in_fp32: true,
    tie_embeddings: true,
  };
  writeFileSync(join(dir, "config.json"), JSON.stringify(config));
  const file = readFileSync(join(golden.modelDir, "model.safetensors"));
  writeFileSync(
    join(dir, "model.safetensors"),
    renameTensors(file, (name) => name.replace("backbone.embeddings.", "backbone.embedding.")),
  );
  await expectSameLogits(golden.modelDir);
});

test("so does a checkpoint under the prefix model.", async () => {
  writeFileSync(join(dir, "config.json"), readFileSync(join(golden.modelDir, "config.json")));
  const file = readFileSync(join(golden.modelDir, "model.safetensors"));
  const renamed = renameTensors(file, (name) => name.replace("backbone.", "model."));
  writeFileSync(join(dir, "model.safetensors"), renamed);
  await expectSameLogits(golden.modelDir);
});

/** A golden, whose checkpoint is as transformers 5 writes it, with a checkpoint of other names beside its config. */
function rewritten(name: string, rewrite: (name: string, entry: Entry) => [string, Entry][]): string {
  const { modelDir } = goldens.find((candidate) => candidate.name === name)!;
  writeFileSync(join(dir, "config.json"), readFileSync(join(modelDir, "config.json")));
  const file = readFileSync(join(modelDir, "model.safetensors"));
  writeFileSync(join(dir, "model.safetensors"), rewriteTensors(file, rewrite));
  return modelDir;
}

describe("published checkpoints give the logits of what transformers 5 makes of them", () => {
  test("Granite 4: experts and their router under older names", async () => {
    const published = (name: string) =>
      name
        .replace("router.weight", "router.layer.weight")
        .replace("experts.gate_up_proj", "input_linear.weight")
        .replace("experts.down_proj", "output_linear.weight");
    await expectSameLogits(rewritten("granitemoehybrid", (name, entry) => [[published(name), entry]]));
  });

  test.each(["nemotron_h_moe", "nemotron_h_latent"])("%s: a tensor for each expert", async (model) => {
    const modelDir = rewritten(model, (name, entry) => {
      const published = name.replace(/^model\./, "backbone.");
      const expert = /^(.*\.experts)\.(up_proj|down_proj)$/.exec(published);
      return expert === null ? [[published, entry]] : unstacked(entry, (i) => `${expert[1]}.${i}.${expert[2]}.weight`);
    });
    await expectSameLogits(modelDir);
  });

  test("a gate and an up-projection for each expert", async () => {
    const modelDir = rewritten("granitemoehybrid", (name, entry) => {
      const [, experts] = /^(.*\.experts)\.gate_up_proj$/.exec(name) ?? [];
      if (experts === undefined) return [[name, entry]];
      return unstacked(entry, (i) => `${experts}.${i}`).flatMap(([expert, { dtype, shape, data_offsets }]) => {
        const halves = { dtype, shape: [2, shape[0]! / 2, shape[1]!], data_offsets };
        return unstacked(halves, (half) => `${expert}.${half === 0 ? "gate" : "up"}_proj.weight`);
      });
    });
    await expectSameLogits(modelDir);
  });
});

test("heads of Nemotron that predict several tokens are no part of the model", async () => {
  const { modelDir } = goldens.find(({ name }) => name === "nemotron_h")!;
  const file = readFileSync(join(modelDir, "model.safetensors"));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const end = file.length - 8 - headerBytes;
  const more = Buffer.concat([file, Buffer.alloc(4)]);
  let isFirst = true;
  const withHead = rewriteTensors(more, (name, entry) => {
    const own: [string, Entry][] = [[name, entry]];
    if (isFirst) own.push(["mtp.layers.0.norm.weight", { dtype: "F32", shape: [1], data_offsets: [end, end + 4] }]);
    isFirst = false;
    return own;
  });
  writeFileSync(join(dir, "config.json"), readFileSync(join(modelDir, "config.json")));
  writeFileSync(join(dir, "model.safetensors"), withHead);
  await loadWeights(dir, loadModelConfig(dir), device, { dtype: "float32" });
});
