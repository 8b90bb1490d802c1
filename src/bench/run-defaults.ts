import type { DeviceKind } from "../tensor/device";

/** How often each thing is timed, and how many rows a case may have: the CPU would take minutes for the longest one. */
export function benchDefaults(kind: DeviceKind): { runs: number; maxTokens: number } {
  return kind === "cpu" ? { runs: 5, maxTokens: 8192 } : { runs: 41, maxTokens: Number.POSITIVE_INFINITY };
}
