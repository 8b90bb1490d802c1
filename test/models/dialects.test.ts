import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { goldens, sameBits } from "../helpers/golden";
import { ModelHarness } from "../helpers/model-harness";

/** The same tensors under other names. */
function renameTensors(file: Buffer, rename: (name: string) => string): Buffer {
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + headerBytes).toString()) as Record<string, unknown>;
  const renamed = Object.fromEntries(Object.entries(header).map(([name, entry]) => [rename(name), entry]));
  const text = Buffer.from(JSON.stringify(renamed));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, file.subarray(8 + headerBytes)]);
}

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "model-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

async function expectSameLogits(modelDir: string): Promise<void> {
  const ids = golden.ids("input_ids.1");
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
