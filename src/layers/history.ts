import type { AnyField } from "../step/field";
import { replays } from "../step/fields/replays";
import type { ModelBuild } from "./build";
import type { SlotTensor } from "./slot-cache";

/** Numbers of an entry are rounded up to this, so that each begins at a whole vector. */
const ALIGNMENT = 16;

/** What a recurrent layer keeps where tokens of a row may be taken back: `width` numbers of each of the last tokens. */
export function history(build: ModelBuild, width: number): Readonly<Record<string, SlotTensor>> {
  const { rowTokens, dtype } = build;
  if (rowTokens === 1) return {};
  build.field<AnyField>(replays);
  // Twice the longest row: one is held while the next is computed.
  const entries = 2 * rowTokens;
  return { history: { shape: [entries, Math.ceil(width / ALIGNMENT) * ALIGNMENT], dtype, isPassing: true } };
}
