import { cpuTable } from "../../bench/cpu-table";
import { kernelTable } from "../../bench/kernel-table";
import { withTables } from "../../bench/report";
import { stepTable } from "../../bench/step-table";
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

test("judged kernels, the newest line of each", () => {
  const lines = [
    rates,
    kernel("dim 10240, B=256", { us: 99 }),
    kernel("dim 10240, B=256"),
    kernel("dim 10240, B=1", { peer: null, peer_us: null, us: 3.456, bytes: 368_640 }),
    kernel("dim 1792, B=1"),
  ];
  expect(kernelTable(lines).split("\n")).toEqual([
    "NVIDIA H200, copies at 4.25 TB/s, bf16 products at 770 TFLOP/s, the smallest launch takes 3.5 us, 2026-01-02, commit abc1234:",
    "",
    "| op | case | us | floor, us | share | best peer, us | times faster |",
    "|---|---|---|---|---|---|---|",
    "| causal_conv1d_update | dim 10240, B=1 | 3.46 | 0.0867 | 3 % | - | - |",
    "| causal_conv1d_update | dim 10240, B=256 | 12.3 | 9.9 | 80 % | vLLM 18.9 | 1.5x |",
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
  expect(
    stepTable([rates, step(), step({ context: 1024, ms: 9.5 }), step({ ...prefill })])
      .split("\n")
      .slice(2),
  ).toEqual([
    "| model | step | state | ms | floor, ms | share | best peer, ms | times faster |",
    "|---|---|---|---|---|---|---|---|",
    "| mamba2-2.7b | decode, batch 64 | bf16 | 4.9 | 3.8 | 78 % | mamba_ssm, CUDA graph 9.65 | 2.0x |",
    "| mamba2-2.7b | decode, batch 64, context 1,024 | bf16 | 9.5 | 3.8 | 40 % | mamba_ssm, CUDA graph 9.65 | 1.0x |",
    "| mamba2-2.7b | prefill, 8,192 tokens | bf16 | 60 | 50 | 83 % | mamba_ssm 98 | 1.6x |",
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
  const rowsOf = (table: string) => table.split("\n").slice(5);
  const first = "| mamba2-130m | bf16 | 1,500 | 500 (3.0x) | 100 | 60 (1.7x) | - | 87 % |";
  expect(rowsOf(cpuTable(before))).toEqual([first]);
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
