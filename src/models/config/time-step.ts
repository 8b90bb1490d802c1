import { z } from "zod";
import { orElse, text, timeStepLimit, within } from "./fields";
import type { ConfigFile } from "./json-file";

const schema = z.object({
  transformers_version: orElse(text(), "5"),
  time_step_min: orElse(within(0, Number.MAX_VALUE, "a number from 0"), 0.001),
  time_step_limit: timeStepLimit.nullish(),
});

/**
 * Bounds of the time step in Nemotron-H and Zamba2, whose classes disagree. That of transformers 5 raises it to
 * time_step_min and reads no time_step_limit. The ones before, with which published checkpoints were written, clamp it to
 * time_step_limit only, and so do the kernels that these models were trained with: a step that cannot reach 0 forgets a
 * long context. A config is obeyed as the class that wrote it obeys it; without a version, that is transformers 5.
 */
export function timeStepBounds(file: ConfigFile): { readonly dtMin: number; readonly dtMax: number } {
  const { transformers_version: version, time_step_min: least, time_step_limit: limit } = file.fields(schema);
  if (Number.parseInt(version, 10) >= 5) return { dtMin: least, dtMax: Number.POSITIVE_INFINITY };
  return { dtMin: limit?.min ?? 0, dtMax: limit?.max ?? Number.POSITIVE_INFINITY };
}
