import { readFileSync } from "node:fs";
import { join } from "node:path";
import { convDimOf, geometries, projectedOf } from "../../src/bench/geometries";
import { judgedCases } from "../../src/bench/judged";
import { kernelCases } from "../../src/bench/kernel-cases";
import { type PeerFigures, peerOfKernel } from "../../src/bench/peers";
import { loadModelConfig, type Mamba2Config } from "../../src/models/config";
import { planModel } from "../../src/models/registry";

const all = kernelCases();
const caseOf = (op: string, name: string) => all.find((one) => one.op === op && one.name === name)!;
const ssd = "H=128 P=64 N=128 G=8";

// Sizes of codestral-7b: 128 heads of 64, 8 groups, states of 128; 8192 inner channels, 10240 in the convolution, 4096 hidden.
test.each([
  // 10240 channels: x, out (2 bytes each), three inputs of the window in and out, four taps and a bias in f32.
  ["causal_conv1d_update", "dim 10240, B=8", 8 * 10_240 * (2 + 2 + 12) + 5 * 10_240 * 4, 8 * 10_240 * 8],
  ["causal_conv1d_varlen", "dim 10240, 1x2048", 83_886_080 + 12 * 10_240 + 204_800, 2048 * 10_240 * 8],
  // x and out 8192, dt 128, B and C 1024 each; the state once in and once out; A, D and the bias of dt in f32.
  ["ssd_state_update", `${ssd}, B=1, bf16 state`, 4_231_424 + 1536, 5 * 1_048_576],
  ["ssd_state_update", `${ssd}, B=1, f32 state`, 4_231_424 + 4_194_304 + 1536, 5 * 1_048_576],
  // 2048 tokens of 18560 values; 8 chunks of 256 tokens, 32896 pairs each, of 1024 for C Bᵀ and 8192 for x.
  ["ssd_chunk_scan", `${ssd}, 1x2048`, 80_216_064 + 1536, 4 * 2048 * 1_048_576 + 2 * 8 * 32_896 * 9216],
  // 128 tokens are half a chunk: 8256 pairs.
  ["ssd_chunk_scan", `${ssd}, 64x128`, 572_522_496 + 1536, 64 * (4 * 128 * 1_048_576 + 2 * 8256 * 9216)],
  ["rms_norm", "width 4096, B=8", 8 * 4096 * (2 + 4 + 4 + 2) + 4096 * 4, 8 * 4096 * 5],
  ["gated_rms_norm", "width 8192, 8 groups, B=1", 8192 * 6 + 8192 * 4, 8192 * 9],
  ["linear", "in_proj 18560x4096, M=8", 2 * (8 * 4096 + 18_560 * 4096 + 8 * 18_560), 2 * 8 * 18_560 * 4096],
  ["linear", "lm_head 32768x4096, M=1", 2 * (4096 + 32_768 * 4096) + 4 * 32_768, 2 * 32_768 * 4096],
  ["embedding", "table 32768x4096, B=64", 64 * 4096 * 6, 0],
  // x 8 rows of 4096 f32, the norm's weight in f32; the product as above.
  [
    "rms_norm_linear",
    "in_proj 18560x4096, M=8",
    8 * 4096 * 4 + 4096 * 4 + 2 * (18_560 * 4096 + 8 * 18_560),
    2 * 8 * 18_560 * 4096 + 4 * 8 * 4096,
  ],
  // For each row five words and an id, a count read and written.
  ["count_tokens", "vocab 32768, B=8", 8 * (20 + 4 + 8), 8],
  // A prompt writes all counts once.
  ["count_tokens", "vocab 32768, prompt of 8192", 20 + 8192 * 4 + 32_768 * 4, 8192],
  ["apply_penalties", "vocab 32768, B=8, 1000 counted", 8 * (32_768 * 4 + 8000 + 16), 8 * (32_768 + 4000)],
  // Three logits of four are written.
  ["mask_logits", "vocab 32768, B=8, 1 of 4 allowed", 8 * (32_768 / 8 + 3 * 32_768 + 4), 0],
  ["sample", "vocab 32768, B=64, greedy", 64 * 32_768 * 4, 64 * 32_768],
  ["logprobs", "vocab 32768, B=8, top 5", 8 * 32_768 * 4, 3 * 8 * 32_768],
  // 32 + 8 heads of 128 channels, in bf16: q and out, k and v; 8192 (8193) / 2 pairs.
  ["attention_varlen", "32/8 heads of 128, 1x8192", 8192 * 2 * 40 * 128 * 2, 4 * 33_558_528 * 32 * 128],
  ["paged_attention", "32/8 heads of 128, B=64, context 8192", 64 * (8192 * 16 + 64) * 256, 4 * 64 * 8192 * 4096],
  // k and v twice, 64 channels of each query in and out.
  ["rope_store_kv", "32/8 heads of 128, 64 rotated, B=64", 64 * (4 * 8 * 128 + 2 * 32 * 64) * 2, 3 * 64 * 40 * 64],
  ["route", "6 of 128, sigmoid with bias, B=8", 8 * (128 * 4 + 6 * 8), 8 * 128 * 8],
  ["sort_by_expert", "6 of 128, B=8", (3 * 48 + 129) * 4, 0],
  // Six experts for one token; all 128 for 64.
  ["grouped_linear", "up 1856x2688, 6 of 128, B=1", 2 * (6 * 1856 * 2688 + 2688 + 6 * 1856), 2 * 6 * 1856 * 2688],
  [
    "grouped_linear",
    "down 2688x1856, 6 of 128, B=64",
    2 * (128 * 2688 * 1856 + 384 * (1856 + 2688)),
    2 * 384 * 2688 * 1856,
  ],
  [
    "grouped_linear",
    "up with gate 1024x1536, 6 of 64, B=1",
    2 * (6 * 1024 * 1536 + 1536 + 6 * 512),
    2 * 6 * 1024 * 1536,
  ],
  ["moe_combine", "6 rows of 2688 into f32, B=8", 8 * 2688 * (12 + 8), 2 * 8 * 6 * 2688],
  ["activation", "silu, gate and up of 12288, B=8", 8 * 12_288 * 6, 5 * 8 * 12_288],
  ["activation", "relu2 of 15680, B=8", 8 * 15_680 * 4, 2 * 8 * 15_680],
  // q and k 256 each, v and out 1024 each, two gates of 8 heads; 131072 values of state in f32 in and out.
  [
    "gdn_chunk",
    "2/8 heads, K=128 V=128, 1x8192",
    8192 * (512 + 2048 + 16) * 2 + 2 * 131_072 * 4 + 64,
    6 * 8192 * 131_072,
  ],
  [
    "gdn_update",
    "8/16 heads, K=128 V=128, B=8, bf16 state",
    8 * (2048 + 4096 + 32) * 2 + 2 * 8 * 262_144 * 2 + 128,
    6 * 8 * 262_144,
  ],
  ["gated_rms_norm", "width 4096, 32 groups before the gate, B=8", 8 * 4096 * 6 + 4096 * 4, 8 * 4096 * 9],
  ["copy_slots", "f32 state of 32x128x128, 8 copies", 2 * 8 * 524_288 * 4, 0],
])("%s, %s: bytes and operations", (op, name, bytes, flops) => {
  expect(caseOf(op, name)).toMatchObject({ bytes, flops });
});

test("sizes of a layer", () => {
  const codestral = geometries.find(({ model }) => model === "codestral-7b")!;
  expect([convDimOf(codestral), projectedOf(codestral)]).toEqual([10_240, 18_560]);
});

test("layers of models that are in bench/models are the same there", () => {
  for (const [model, folder] of [
    ["mamba2-130m", "mamba2-130m"],
    ["mamba2-2.7b", "mamba2-2.7b"],
    ["codestral-7b", "mamba-codestral-7b"],
  ]) {
    const config = loadModelConfig(join(__dirname, "..", "..", "bench", "models", folder!)) as Mamba2Config;
    const { heads, headDim, groups, stateSize, convKernel, chunkSize } = config.ssm;
    expect(geometries.find((geometry) => geometry.model === model)).toEqual({
      model,
      hidden: config.hiddenSize,
      heads,
      headDim,
      groups,
      stateSize,
      convKernel,
      chunkSize,
      vocab: config.vocabSize,
    });
  }
});

test("op and name say which case it is, and a case that models share is there once", () => {
  expect(new Set(all.map(({ op, name }) => `${op} ${name}`)).size).toBe(all.length);
  expect(caseOf("ssd_state_update", `${ssd}, B=8, bf16 state`).models).toEqual(["codestral-7b", "nemotron-h-8b"]);
});

test("a check is never larger than the case", () => {
  for (const model of geometries.map((geometry) => geometry.model)) {
    for (const { checkedName } of kernelCases({ models: [model], ops: ["linear"] })) {
      expect(Number(/M=(\d+)/.exec(checkedName)![1])).toBeLessThanOrEqual(256);
    }
  }
});

test("the check of one sequence is long where a layer is small, so that a scan cut into segments is compared too", () => {
  const checksOf = (model: string) =>
    kernelCases({ models: [model], ops: ["ssd_chunk_scan"] }).map(({ checkedName }) => checkedName.split(", ")[1]);
  expect(checksOf("mamba2-130m").slice(0, 2)).toEqual(["2048", "8192"]);
  expect(checksOf("codestral-7b")).toEqual([
    "2048",
    "2048",
    "600 + 597 + 594 + 591 + 588 + 585 + 582 + 579",
    "128 + 125 + 122 + 119 + 116 + 113 + 110 + 107",
    "2048",
  ]);
});

test("all judged cases are there, and nothing else with judged", () => {
  const judged = kernelCases({ judged: true }).map(({ op, name }) => `${op} ${name}`);
  expect(judged.sort()).toEqual(
    Object.entries(judgedCases)
      .flatMap(([op, names]) => names.map((name) => `${op} ${name}`))
      .sort(),
  );
});

test("a selection", () => {
  const cases = kernelCases({ models: ["storyteller-6m"], ops: ["ssd_chunk_scan"], maxTokens: 8192 });
  expect(cases.map(({ name }) => name.replace("H=10 P=64 N=128 G=1, ", ""))).toEqual([
    "1x2048",
    "1x8192",
    "8x1024",
    "64x128",
  ]);
  expect(() => kernelCases({ models: ["gpt"] })).toThrow("model must be one of mamba2-130m, ");
});

test("every figure of a peer belongs to a case", () => {
  const path = join(__dirname, "..", "..", "bench", "peers", "h200.json");
  const peers = JSON.parse(readFileSync(path, "utf8")) as PeerFigures;
  for (const { op, case: name } of peers.kernels) expect([op, name, caseOf(op, name)?.name]).toEqual([op, name, name]);
  expect(peerOfKernel(peers, "ssd_chunk_scan", `${ssd}, 1x2048`)).toMatchObject({ peer: "vLLM", us: 153.66 });
  expect(peerOfKernel(peers, "ssd_chunk_scan", "another case")).toBeNull();
});

test("bytes and operations of whole steps", async () => {
  const config = loadModelConfig(join(__dirname, "..", "..", "bench", "models", "mamba2-130m"));
  const { model, stateBytes } = await planModel(config, "bf16", "bf16");
  expect(stateBytes).toBe(24 * 2 * (24 * 64 * 128 + 3 * 1792));
  // 24 layers of in_proj [3352, 768] and out_proj [768, 1536], a head [50288, 768].
  const layers = 24 * (3352 * 768 + 768 * 1536);
  const head = 50_288 * 768;
  expect(model.work({ tokens: 8, sequences: 8, context: 1 })).toEqual({
    bytes: 2 * (layers + head) + 16 * stateBytes,
    flops: 16 * (layers + head),
  });
  expect(model.work({ tokens: 512, sequences: 1, context: 0 }).flops).toBe(2 * (512 * layers + head));
});
