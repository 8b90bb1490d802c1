import { EngineError } from "../errors";
import type { SchedulerConfig } from "./scheduler";

const floats = { float32: "f32", bfloat16: "bf16", float16: "f16" } as const;
type FloatName = keyof typeof floats;
type FloatDtype = (typeof floats)[FloatName];

export type DtypeName = "auto" | FloatName;

/** How a model is loaded and run; everything has a default. */
export interface EngineOptions {
  /** Default "auto": the best device that this build has and this machine offers. */
  readonly device?: "auto" | "cpu" | "cuda";
  /** CPU threads that compute. Default: one per core that the process may use. */
  readonly threads?: number;
  /** Type of activations and matrices. Default "auto": the checkpoint's, or bfloat16 where it names none. */
  readonly dtype?: DtypeName;
  /** Type of the SSM state. Default "auto": what the checkpoint asks for, else float32. */
  readonly stateDtype?: DtypeName;
  /** Sequences that run at once; lowered, with a message, where their states would not fit in memory. Default 64. */
  readonly maxNumSeqs?: number;
  /**
   * Tokens of one step. Default 512 on a CPU and 8192 on a GPU, and one for each running sequence, so that decodes take
   * nothing from a prefill's chunks.
   */
  readonly maxNumBatchedTokens?: number;
  /** Tokens of prompt and output together. Default 131072. */
  readonly maxModelLen?: number;
  /** Requests that may wait. Default 1024. */
  readonly maxQueue?: number;
  /** "dummy": random weights from config.json alone, for benchmarks. Default "auto". */
  readonly loadFormat?: "auto" | "dummy";
}

export const defaults = { maxNumSeqs: 64, maxModelLen: 131_072, maxQueue: 1024 };

type DeviceKind = "cpu" | "cuda";

/** Prompt tokens of one step: enough to fill the device's matrix units, few enough that decodes do not wait long. */
const prefillTokens: Readonly<Record<DeviceKind, number>> = { cpu: 512, cuda: 8192 };

/** Share of the free memory that the states may take. */
const STATE_MEMORY_SHARE = 0.5;

export interface MemoryPlan extends SchedulerConfig {
  readonly stateBytesPerSeq: number;
  /** Why maxNumSeqs is lower than asked for; null when it is not. */
  readonly note: string | null;
}

/** Sizes of the engine for a model: `stateBytesPerSeq` of state for each sequence, `freeBytes` of the device's memory left. */
export function planMemory(
  options: EngineOptions,
  model: { chunkSize: number; stateBytesPerSeq: number },
  { kind, freeBytes }: { kind: DeviceKind; freeBytes: number },
): MemoryPlan {
  const { maxModelLen = defaults.maxModelLen, maxQueue = defaults.maxQueue } = options;
  const wanted = options.maxNumSeqs ?? defaults.maxNumSeqs;
  const fitting = Math.floor((freeBytes * STATE_MEMORY_SHARE) / model.stateBytesPerSeq);
  const maxNumSeqs = Math.max(1, Math.min(wanted, fitting));
  const lowered = maxNumSeqs < wanted;
  const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
  return {
    maxNumSeqs,
    maxNumBatchedTokens: Math.max(options.maxNumBatchedTokens ?? prefillTokens[kind] + maxNumSeqs, maxNumSeqs),
    chunkSize: model.chunkSize,
    maxModelLen,
    maxQueue,
    stateBytesPerSeq: model.stateBytesPerSeq,
    note: lowered
      ? `max_num_seqs is ${maxNumSeqs} instead of ${wanted}: a sequence takes ${mib(model.stateBytesPerSeq)} of state and ${mib(freeBytes)} are free`
      : null,
  };
}

export interface Dtypes {
  /** Activations and matrices. */
  readonly compute: FloatDtype;
  /** The convolution's last inputs are activations. */
  readonly conv: FloatDtype;
  readonly ssm: FloatDtype;
}

/** Types of a model; throws ERR_ARGUMENT for a name that is none. */
export function resolveDtypes(
  { dtype = "auto", stateDtype = "auto" }: Pick<EngineOptions, "dtype" | "stateDtype">,
  model: { torchDtype: FloatName | null; mambaSsmCacheDtype?: FloatName },
): Dtypes {
  const computeName = dtype === "auto" ? (model.torchDtype ?? "bfloat16") : dtype;
  const stateName = stateDtype === "auto" ? (model.mambaSsmCacheDtype ?? "float32") : stateDtype;
  expectFloat("dtype", computeName);
  expectFloat("stateDtype", stateName);
  const compute = floats[computeName];
  return { compute, conv: compute, ssm: floats[stateName] };
}

function expectFloat(option: string, value: string): void {
  const allowed = Object.keys(floats);
  if (allowed.includes(value)) return;
  const message = `${option} must be auto, ${allowed.join(" or ")}, got ${value}`;
  throw new EngineError("ERR_ARGUMENT", message, { subject: option });
}
