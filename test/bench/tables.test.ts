import { cpuTable } from "../../bench/cpu-table";
import { engineTable } from "../../bench/engine-table";
import { kernelTable } from "../../bench/kernel-table";
import { type PrefixLine, prefixTable } from "../../bench/prefix-table";
import { withTables } from "../../bench/report";
import { type SpeculationLine, speculationTable } from "../../bench/speculation-table";
import { stepTable } from "../../bench/step-table";
import type { EngineResult } from "../../src/bench/engine-bench";
import type { KernelResult } from "../../src/bench/kernel-bench";
import type { StepResult } from "../../src/bench/step-bench";

const run = { date: "2026-01-02", commit: "abc1234", hardware: "NVIDIA H200" };
const rates = { ...run, bandwidth: 4.25e12, arithmetic: 7.7e14, launchUs: 3.5 };

function kernel(name: string, fields: Partial<KernelResult> = {}) {
  const result: KernelResult = {
    op: "causal_conv1d_update",
    case: name,
    model: "codestral-7b",
    models: ["codestral-7b"],
    device: "cuda",
    hardware: "NVIDIA H200",
    dtype: "bf16",
    state_dtype: null,
    us: 12.34,
    copy_us: 14,
    bytes: 42_075_000, // 9.9 us
    flops: 1,
    floor_us: 9.9,
    share: 0.802,
    peer: "vLLM",
    peer_us: 18.88,
  };
  return { ...result, ...run, ...fields };
}

function step(fields: Partial<StepResult> = {}) {
  const result: StepResult = {
    figure: "decode_step_ms",
    model: "mamba2-2.7b",
    size: 64,
    context: 1,
    device: "cuda",
    hardware: "NVIDIA H200",
    dtype: "bf16",
    state_dtype: "bf16",
    kv_dtype: "bf16",
    quantize: "none",
    ms: 4.9,
    wall_ms: 5.1,
    bytes: 16_150_000_000, // 3.8 ms
    flops: 1,
    floor_ms: 3.8,
    share: 0.776,
    peer: "mamba_ssm, CUDA graph",
    deterministic: false,
    cost: null,
    peer_ms: 9.65,
  };
  return { ...result, ...run, ...fields };
}

/** Below the head of a table of steps. */
const rowsOf = (table: string) => table.split("\n").slice(4);

test("judged kernels, the newest line of each", () => {
  const lines = [
    rates,
    kernel("dim 10240, B=256", { us: 99 }),
    kernel("dim 10240, B=256"),
    kernel("dim 10240, B=1", { peer: null, peer_us: null, us: 3.456, bytes: 368_640 }),
    kernel("dim 1792, B=1"),
  ];
  expect(kernelTable(lines).split("\n")).toEqual([
    "NVIDIA H200, 2026-01-02; copies at 4.25 TB/s, bf16 products at 770 TFLOP/s, the smallest launch takes 3.5 us:",
    "",
    "| op | case | us | floor, us | share | best peer, us | times faster | commit |",
    "|---|---|---|---|---|---|---|---|",
    "| causal_conv1d_update | dim 10240, B=1 | 3.46 | 0.0867 | 3 % | - | - | abc1234 |",
    "| causal_conv1d_update | dim 10240, B=256 | 12.3 | 9.9 | 80 % | vLLM 18.9 | 1.5x | abc1234 |",
  ]);
});

test("steps: a decode by the device's time, a prefill by the clock on the wall", () => {
  const flops = 38.5e12; // 50 ms
  const prefill = {
    flops,
    figure: "prefill_ms",
    size: 8192,
    ms: 50,
    wall_ms: 60,
    peer: "mamba_ssm",
    peer_ms: 98.01,
  } as const;
  expect(rowsOf(stepTable([rates, step(), step({ context: 1024, ms: 9.5, flops: 2 }), step({ ...prefill })]))).toEqual([
    "| mamba2-2.7b | decode, batch 64 | bf16 | 4.9 | 3.8 | 78 % | mamba_ssm, CUDA graph 9.65 | 2.0x | abc1234 |",
    "| mamba2-2.7b | decode, batch 64, context 1,024 | bf16 | 9.5 | 3.8 | 40 % | mamba_ssm, CUDA graph 9.65 | 1.0x | abc1234 |",
    "| mamba2-2.7b | prefill, 8,192 tokens | bf16 | 60 | 50 | 83 % | mamba_ssm 98 | 1.6x | abc1234 |",
  ]);
});

test("steps of a model without attention are the same ones after any context, so the newest counts", () => {
  const table = stepTable([
    rates,
    step({ ms: 5 }),
    step({ context: 1024, ms: 4.75 }),
    step({ size: 8, context: 1024 }),
  ]);
  const names = rowsOf(table).map((row) => row.split(" | ").slice(1, 4).join(" "));
  expect(names).toEqual(["decode, batch 8 bf16 4.9", "decode, batch 64 bf16 4.75"]);
});

test("a model's rows stand together, of each form of its weights, and those of the deterministic mode are left out", () => {
  const other = { model: "bamba-9b", ms: 7 };
  const lines = [
    rates,
    step({ size: 8 }),
    step({ ...other, quantize: "int4" }),
    step(other),
    step({ figure: "prefill_ms", size: 512, context: 0 }),
    step({ size: 1 }),
    step({ ...other, deterministic: true, ms: 99 }),
  ];
  expect(rowsOf(stepTable(lines)).map((row) => row.split(" | ").slice(0, 2).join(": "))).toEqual([
    "| mamba2-2.7b: decode, batch 1",
    "| mamba2-2.7b: decode, batch 8",
    "| mamba2-2.7b: prefill, 512 tokens",
    "| bamba-9b as int4: decode, batch 64",
    "| bamba-9b: decode, batch 64",
  ]);
});

test("the head of a table spans the runs that its rows are of", () => {
  const later = { date: "2026-01-12", commit: "def5678" };
  const lines = [rates, step(), { ...rates, ...later, bandwidth: 4.1e12, launchUs: 12 }, step({ ...later, size: 8 })];
  expect(stepTable(lines).split("\n")[0]).toBe(
    "NVIDIA H200, 2026-01-02 to 2026-01-12; copies at 4.10 to 4.25 TB/s, bf16 products at 770 TFLOP/s, the smallest launch takes 3.5 to 12.0 us:",
  );
});

test("the engine's loop: the newest line of each number of sequences, and not the times of steps beside them", () => {
  const line = (fields: Partial<EngineResult & typeof run> = {}) => ({
    ...{ ...run, figure: "engine_step" as const, model: "mamba2-2.7b", size: 64, device: "cuda" as const },
    ...{ overlap: true, steps: 200, step_ms: 5.164, before_step_us: { p50: 46.9, p99: 80 }, idle_share: 0.0032 },
    host_us: { schedule: 4.35, metadata: 7.63, launch: 34.5, await: 5000, output: 34.8 },
    ...fields,
  });
  const later = { date: "2026-01-05", commit: "def5678" };
  const all = [line({ step_ms: 99 }), line({ size: 8, step_ms: 2.35, ...later }), line(), step() as never];
  expect(engineTable(all).split("\n")).toEqual([
    "NVIDIA H200, 2026-01-02 to 2026-01-05:",
    "",
    "| model | sequences | ms from step to step | before a step, us | schedule + metadata + launch | output, us | GPU idle | commit |",
    "|---|---|---|---|---|---|---|---|",
    "| mamba2-2.7b | 64 | 5.16 | 46.9 | 4.35 + 7.63 + 34.5 | 34.8 | 0.3 % | abc1234 |",
    "| mamba2-2.7b | 8 | 2.35 | 46.9 | 4.35 + 7.63 + 34.5 | 34.8 | 0.3 % | def5678 |",
  ]);
});

test("guesses: the newest run of each number of sequences, and nothing of older ones beside it", () => {
  const line = (acceptance: number, times: number, fields: Partial<SpeculationLine> = {}) => ({
    ...{ ...run, model: "mamba2-2.7b", batch: 8, num_speculative_tokens: 3, acceptance, without: 1234, times },
    ...fields,
  });
  const later = { date: "2026-01-05", commit: "def5678", method: "ngram", without: 1300 };
  const other = { model: "bamba-9b", method: "mtp" };
  const lines = [line(0, 0.9), line(1, 3), line(0, 1, other), line(0, 0.97, later), line(0.75, 1.8, later)];
  expect(speculationTable([...lines, line(0, 1.004, { ...later, batch: 1 })]).split("\n")).toEqual([
    "NVIDIA H200, 2026-01-02 to 2026-01-05:",
    "",
    "| model | method | guesses | sequences | tokens/s without | none right | three in four right | commit |",
    "|---|---|---|---|---|---|---|---|",
    "| mamba2-2.7b | ngram | 3 | 8 | 1,300 | 0.97x | 1.80x | def5678 |",
    "| mamba2-2.7b | ngram | 3 | 1 | 1,300 | 1.00x | - | def5678 |",
    "| bamba-9b | mtp | 3 | 8 | 1,234 | 1.00x | - | abc1234 |",
  ]);
});

test("the prefix cache: the newest engines with it and without, of traffic that both had", () => {
  const line = (prefix_cache: boolean, fields: Partial<PrefixLine>): PrefixLine => ({
    ...{ date: "2026-01-02", commit: "abc1234", model: "bench/models/bamba-9b", figure: "reuse", prefix_cache },
    ...{ flags: { tokens: "65536", shared: "0.9", sessions: "128", turns: "12", system: "2048" }, ...fields },
  });
  const replay = { figure: "replay", date: "2026-01-04" };
  const lines = [
    line(true, { last_ttft_ms: 999 }),
    line(false, { last_ttft_ms: 1181 }),
    line(true, { last_ttft_ms: 160 }),
    line(true, { ...replay, mean_ttft_ms: 236.2 }),
    line(false, { ...replay, mean_ttft_ms: 1814 }),
    line(true, { figure: "tiers" }),
    line(true, { model: "other", last_ttft_ms: 1 }),
  ];
  expect(prefixTable(lines).split("\n")).toEqual([
    "2026-01-02 to 2026-01-04:",
    "",
    "| model | traffic | first token without, ms | with, ms | times faster | commit |",
    "|---|---|---|---|---|---|",
    "| bamba-9b | prompts of 65,536 tokens that share 90 % | 1,181 | 160 | 7.4x | abc1234 |",
    "| bamba-9b | 128 sessions of 12 turns after 2,048 tokens | 1,814 | 236 | 7.7x | abc1234 |",
  ]);
});

test("floors are those of the best rates of a run, so that a slow moment makes no share larger", () => {
  const slow = { ...rates, bandwidth: 3e12, arithmetic: 6e14, launchUs: 6 };
  const older = { ...rates, bandwidth: 9e12, date: "2026-01-01" };
  expect(stepTable([older, rates, slow, step()])).toBe(stepTable([rates, step()]));
});

test("a CPU: a row for each form of the weights, of the last run; old lines are bf16", () => {
  const line = { cpu: "Xeon", cores: 2, device: "cpu (amx, 2 threads)", prompt: 512, generate: 128, read_gbps: 34.4 };
  const lines = (date: string, format: string | undefined, figures: Record<string, number>) =>
    Object.entries(figures).map(([figure, value]) => ({
      ...{ ...line, date, commit: "abc1234", model: "mamba2-130m", figure, value },
      ...(format !== undefined && { format }),
    }));
  const peer = { "prefill, llama.cpp": 500, "decode, llama.cpp": 60 };
  const bf16 = { prefill: 1500, decode: 100.4, "decode, share of the bandwidth floor": 87.2, ...peer };
  const int8 = { prefill: 1200, decode: 180, "decode, times bf16's": 1.79 };
  const [old, last] = ["2026-01-01", "2026-01-02"];
  const before = lines(old, undefined, bf16);
  const first = "| mamba2-130m | bf16 | 1,500 | 500 (3.0x) | 100 | 60 (1.7x) | - | 87 % |";
  expect(cpuTable(before).split("\n").slice(5)).toEqual([first]);
  const all = [
    ...before,
    ...lines(last, "bf16", bf16),
    ...lines(last, "int8", int8),
    ...lines(last, "Q8_0", { ...int8, ...peer }),
  ];
  expect(cpuTable(all).split("\n")).toEqual([
    "2 cores of an Xeon (amx), memory reads at 34 GB/s, 2026-01-02, commit abc1234;",
    "prompt 512, generate 128, batch 1, activations in bfloat16, tokens per second:",
    "",
    "| model | weights | prefill | llama.cpp | decode | llama.cpp | decode to bf16's | decode's share of the bandwidth floor |",
    "|---|---|---|---|---|---|---|---|",
    first,
    "| mamba2-130m | int8 | 1,200 | - | 180 | - | 1.8x | - |",
    "| mamba2-130m | Q8_0 | 1,200 | 500 (2.4x) | 180 | 60 (3.0x) | 1.8x | - |",
  ]);
});

test("results without the rates of their run are refused", () => {
  expect(() => stepTable([step()])).toThrow("no line says what NVIDIA H200 reached on 2026-01-02 (commit abc1234)");
});

test("tables go to their places; without results or a place nothing is written", () => {
  const place = (file: string) => `<!-- bench/results/${file} -->\nold\n<!-- end -->`;
  const text = `a\n${place("h200-step.jsonl")}\nb\n${place("h200-kernels.jsonl")}\nc\n`;
  const jsonl = [rates, step()].map((line) => JSON.stringify(line)).join("\n");
  const results = (file: string) => (file === "h200-step.jsonl" ? `${jsonl}\n` : null);
  const updated = withTables(text, results);
  expect(updated).toContain(`<!-- bench/results/h200-step.jsonl -->\n${stepTable([rates, step()])}\n<!-- end -->\nb\n`);
  expect(updated).toContain(place("h200-kernels.jsonl"));
  expect(withTables(updated, results)).toBe(updated);
  expect(withTables("no place\n", results)).toBe("no place\n");
});
