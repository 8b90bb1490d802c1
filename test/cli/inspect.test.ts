import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readModelFacts } from "../../src/cli/model-facts";
import { run } from "./run";

const golden = join(__dirname, "..", "golden", "mamba2");

test("--json tells all about the bundled model", async () => {
  const { code, stdout, stderr } = await run(["inspect", "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(JSON.parse(stdout)).toMatchObject({
    id: "storyteller-6m",
    config: {
      modelType: "mamba2",
      numLayers: 7,
      hiddenSize: 320,
      ssm: { heads: 10 },
      vocabSize: 4096,
      eosTokenIds: [0, 4],
    },
    weights: { parameters: 6_245_970, dtypes: { BF16: 6_245_760, F32: 210 }, bytes: 12_492_360 },
    tokenizer: {
      vocabSize: 4096,
      chatTemplate: true,
      eosTokens: [
        { id: 0, token: "<|endoftext|>" },
        { id: 4, token: "<|end|>" },
      ],
    },
    // 7 layers of a convolution window [3, 896] in bf16 and a state [10, 64, 128].
    stateBytes: { float32: 7 * (3 * 896 * 2 + 10 * 64 * 128 * 4), bfloat16: 7 * (3 * 896 * 2 + 10 * 64 * 128 * 2) },
    files: expect.arrayContaining([{ name: "model.safetensors", bytes: expect.any(Number) }]),
  });
});

test("the text is aligned and has units", async () => {
  const { stdout } = await run(["inspect"]);
  expect(stdout).toContain("\nparameters     6,245,970 (BF16 6.2 M, F32 210)\nweights        11.9 MiB\n");
  const columns = stdout.split("\n").map((line) => /^(?:\S+ ?)+ {2,}(?=\S)/.exec(line)?.[0].length);
  expect([...new Set(columns.filter((column) => column !== undefined))]).toEqual([15]);
});

test("what a directory lacks is said in its place", async () => {
  expect(await readModelFacts(golden)).toMatchObject({
    weights: { bytes: expect.any(Number) },
    tokenizer: { error: expect.stringContaining("tokenizer.json") },
  });
  const dir = mkdtempSync(join(tmpdir(), "model-"));
  try {
    copyFileSync(join(golden, "config.json"), join(dir, "config.json"));
    expect(await readModelFacts(dir)).toMatchObject({
      weights: { error: expect.stringContaining("model.safetensors") },
      files: [{ name: "config.json" }],
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("gated delta nets", async () => {
  const { stdout } = await run(["inspect", join(__dirname, "../../bench/models/qwen3.5-35b-a3b")]);
  for (const line of [
    "layers        40: 30 linear_attention, 10 full_attention",
    "heads         32 of 128, 16 of keys of 128",
    "convolution   8,192 channels, 4 tokens wide",
    "attention     16 heads of 256, 2 of keys and values, RoPE over 64",
    "experts       8 of 256 for a token, swiglu, 512 channels, one of 512 for all",
  ]) {
    expect(stdout).toContain(`\n${line}\n`);
  }
});

test("a hybrid: its kinds of layers, what a token uses, and what it keeps of each", async () => {
  const { stdout } = await run(["inspect", join(__dirname, "../../bench/models/granite-4.0-h-tiny")]);
  for (const line of [
    "layers        40: 36 mamba, 4 attention",
    "attention     12 heads of 128, 4 of keys and values, no position encoding",
    "experts       6 of 64 for a token, swiglu, 512 channels, one of 1,024 for all",
    "parameters    6,939,037,248 (1.5 B for a token)",
    "kv cache      8.0 KiB for each token, 512.0 KiB for a page of 64",
  ]) {
    expect(stdout).toContain(`\n${line}\n`);
  }
});
