import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface PeerTime {
  /** Who, with what it was measured as. */
  readonly peer: string;
  readonly us: number;
}

/** What other implementations reached on one kind of hardware: a file of bench/peers, which says how it came about. */
export interface PeerFigures {
  readonly hardware: string;
  readonly kernels: readonly (PeerTime & { readonly op: string; readonly case: string })[];
  readonly steps: readonly {
    readonly peer: string;
    readonly model: string;
    readonly figure: string;
    /** Sequences of a decode step, or tokens of a prefill. */
    readonly size: number;
    readonly ms: number;
  }[];
}

/** The same place from src/bench and from dist/bench. */
const folder = join(__dirname, "..", "..", "bench", "peers");

/** Null where there is no file, or none of this hardware: times of two devices say nothing about two implementations. */
export function peersOf(hardware: string): PeerFigures | null {
  const file = join(folder, "h200.json");
  if (!existsSync(file)) return null; // an installed package has no such folder
  const figures = JSON.parse(readFileSync(file, "utf8")) as PeerFigures;
  return figures.hardware === hardware ? figures : null;
}

export function peerOfKernel({ kernels }: PeerFigures, op: string, name: string): PeerTime | null {
  return kernels.find((time) => time.op === op && time.case === name) ?? null;
}

export function peerOfStep({ steps }: PeerFigures, model: string, figure: string, size: number) {
  return steps.find((step) => step.model === model && step.figure === figure && step.size === size) ?? null;
}
