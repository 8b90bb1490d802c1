import { historyEntries } from "../engine/policy/state-lag";
import type { AnyField } from "../step/field";
import { replays } from "../step/fields/replays";
import type { ModelBuild } from "./build";
import type { SlotTensor } from "./slot-cache";

/** Numbers of an entry are rounded up to this, so that each begins at a whole vector. */
const ALIGNMENT = 16;

/**
 * What a recurrent layer keeps where its state may lag behind: `width` numbers of each of the last tokens. `lags`: whether it may
 * behind plain decodes, too.
 */
export function history(build: ModelBuild, width: number, lags = false): Readonly<Record<string, SlotTensor>> {
  const { rowTokens, dtype } = build;
  const entries = historyEntries(rowTokens, lags);
  if (entries === 0) return {};
  build.field<AnyField>(replays);
  build.statesLag ||= lags;
  return { history: { shape: [entries, Math.ceil(width / ALIGNMENT) * ALIGNMENT], dtype, isPassing: true } };
}
