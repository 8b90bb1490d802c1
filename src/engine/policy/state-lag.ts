import type { DeviceKind } from "./config";

/** Tokens that the history of a state keeps where only plain decodes let it lag: every eighth step writes the state. */
const LAG_ENTRIES = 8;

/**
 * Decodes of a step from which on states lag behind them. On an H200 a step of 64 rows of codestral-7b's float states takes 24 % less
 * of the state update's time, one of 8 as much as before (native/cuda/ssd_replay.cu).
 */
export const LAGGING_ROWS = 32;

/**
 * Whether states are to lag: those of float32 on a GPU, whose bytes are what a decode waits for, where enough sequences can run.
 * Fewer need neither histories nor graphs of such steps.
 */
export const lagsStates = (kind: DeviceKind, stateDtype: string, maxNumSeqs: number): boolean =>
  kind === "cuda" && stateDtype === "f32" && maxNumSeqs >= LAGGING_ROWS;

/**
 * Tokens that a history has room for (native/ops/replay.h): where rows may have several, twice the longest one, because one is held
 * while the next is computed; 0 where there is no history.
 */
export function historyEntries(rowTokens: number, lags: boolean): number {
  if (rowTokens > 1) return 2 * rowTokens;
  return lags ? LAG_ENTRIES : 0;
}
