import { openDevice } from "../engine/open-device";
import type { EngineOptions } from "../engine/policy/config";
import { modelPath } from "../llm/bundled-model";
import { benchDefaults } from "./run-defaults";
import { StepBench } from "./step-bench";
import { loadStepModel } from "./step-model";
import type { MeasuredSteps, StepTime } from "./step-times";

/** Fewer prompt tokens than this hardly differ in time from a decode. */
const LEAST_PREFILL = 64;

/** Only times are asked for here, not shares of a floor. */
const noFloor = {
  bandwidth: Number.POSITIVE_INFINITY,
  arithmetic: Number.POSITIVE_INFINITY,
  launchUs: 0,
};

/**
 * Loads a model on a device of its own and times decode steps of 1, 2, 4 ... maxDecodes sequences and prefills of up to
 * maxPrefill tokens. Throws what loading does.
 */
export async function measureSteps(
  model: string,
  options: Pick<
    EngineOptions,
    "device" | "threads" | "dtype" | "stateDtype" | "kvCacheDtype" | "quantize" | "deterministic" | "loadFormat"
  >,
  { maxDecodes, maxPrefill }: { maxDecodes: number; maxPrefill: number },
  onProgress: (what: string) => void,
): Promise<MeasuredSteps> {
  const device = openDevice(options);
  try {
    onProgress("loading the model again");
    const target = await loadStepModel(modelPath(model), device, {
      dtype: options.dtype ?? "auto",
      stateDtype: options.stateDtype ?? "auto",
      kvCacheDtype: options.kvCacheDtype ?? "auto",
      deterministic: options.deterministic ?? false,
      quantize: options.quantize ?? "none",
      loadFormat: options.loadFormat ?? "auto",
      maxNumSeqs: maxDecodes,
      maxTokens: maxPrefill,
    });
    const { runs } = benchDefaults(device.kind);
    const decodes = new StepBench(device, target, noFloor, null, runs);
    const prefills = new StepBench(device, target, noFloor, null, Math.ceil(runs / 4));
    const decode: StepTime[] = [];
    for (const size of doublings(1, maxDecodes)) {
      onProgress(`decode step, batch ${size}`);
      decode.push({ size, ms: (await decodes.decode(size, 1)).ms });
    }
    const prefill: StepTime[] = [];
    for (const size of doublings(Math.min(LEAST_PREFILL, maxPrefill), maxPrefill)) {
      onProgress(`prefill of ${size} tokens`);
      prefill.push({ size, ms: (await prefills.prefill(size)).ms });
    }
    return { decode, prefill };
  } finally {
    device.close();
  }
}

/** first, 2 first, 4 first ... and last. */
function doublings(first: number, last: number): number[] {
  const sizes: number[] = [];
  for (let size = first; size < last; size *= 2) sizes.push(size);
  return [...sizes, last];
}
