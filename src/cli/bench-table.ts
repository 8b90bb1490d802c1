import type { EngineResult } from "../bench/engine-bench";
import type { Rates } from "../bench/floor";
import type { KernelResult } from "../bench/kernel-bench";
import { comparedMs, type StepResult } from "../bench/step-bench";
import { formatMeasure } from "./units";

const NAME_WIDTH = 44;

const row = (name: string, cells: readonly string[], widths: readonly number[]) =>
  `${name.padEnd(NAME_WIDTH)}${cells.map((cell, i) => cell.padStart(widths[i] ?? 0)).join("")}`.trimEnd();

/** The rates that all shares refer to. */
export function ratesText(hardware: string, { bandwidth, arithmetic, launchUs }: Rates): string {
  const rates = [
    `copies at ${rateText(bandwidth, "B/s")}`,
    `bf16 products at ${rateText(arithmetic, "FLOP/s")}`,
    `the smallest launch takes ${formatMeasure(launchUs)} us`,
  ];
  return `${hardware}: ${rates.join(", ")}`;
}

function rateText(rate: number, unit: string): string {
  return rate >= 1e12 ? `${(rate / 1e12).toFixed(2)} T${unit}` : `${formatMeasure(rate / 1e9)} G${unit}`;
}

function peerCells(peer: string | null, theirs: number | null, ours: number): string[] {
  return peer === null || theirs === null ? [] : [formatMeasure(theirs), `${(theirs / ours).toFixed(2)}x`, `  ${peer}`];
}

const kernelWidths = [11, 9, 11, 8, 15, 9, 8];

export function kernelHeading(op: string): string {
  return row(op, ["us", "copy", "floor", "share", "rate", "peer", "faster"], kernelWidths);
}

/** The rate is that of what bounds the case: bytes, or arithmetic where that takes longer. */
export function kernelRow(result: KernelResult, rates: Rates): string {
  const { us, copy_us, floor_us, share, bytes, flops, peer, peer_us } = result;
  const arithmetic = flops / rates.arithmetic > bytes / rates.bandwidth;
  const rate = arithmetic ? rateText(flops / (us / 1e6), "FLOP/s") : rateText(bytes / (us / 1e6), "B/s");
  const times = [us, copy_us, floor_us].map(formatMeasure);
  return row(`  ${result.case}`, [...times, percent(share), rate, ...peerCells(peer, peer_us, us)], kernelWidths);
}

const stepWidths = [9, 9, 9, 8, 9, 8];

export function stepHeading({ model, dtype, state_dtype, deterministic }: StepResult): string {
  const name = `${model}, ${dtype}, ${state_dtype} state${deterministic ? ", deterministic" : ""}`;
  return row(name, ["ms", "wall", "floor", "share", "peer", "faster"], stepWidths);
}

export function stepRow(result: StepResult): string {
  const { figure, size, context, ms, wall_ms, floor_ms, share, peer, peer_ms, cost } = result;
  const after = context > 1 ? `, context ${context}` : "";
  const name = figure === "decode_step_ms" ? `  decode step, batch ${size}${after}` : `  prefill of ${size} tokens`;
  const times = [ms, wall_ms, floor_ms].map(formatMeasure);
  const cells = row(name, [...times, percent(share), ...peerCells(peer, peer_ms, comparedMs(result))], stepWidths);
  return cost === null ? cells : `${cells}   ${cost < 0 ? "" : "+"}${(100 * cost).toFixed(1)} %`;
}

export function engineRow({ size, overlap, step_ms, host_us, before_step_us, idle_share }: EngineResult): string {
  const parts = `schedule ${formatMeasure(host_us.schedule)}, metadata ${formatMeasure(host_us.metadata)}, launch ${formatMeasure(host_us.launch)}`;
  const before = `${formatMeasure(before_step_us.p50)} us (p99 ${formatMeasure(before_step_us.p99)}): ${parts}`;
  const name = `    engine, batch ${size}${overlap ? "" : ", no overlap"}`;
  return `${name.padEnd(NAME_WIDTH)}${formatMeasure(step_ms).padStart(9)}  host ${before}; output ${formatMeasure(host_us.output)}; idle ${percent(idle_share)}`;
}

const percent = (share: number) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
