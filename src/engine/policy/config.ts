import { EngineError } from "../../errors";
import { leastBatchedTokens, type SchedulerConfig } from "./scheduler-config";
import { type SpeculativeOptions, speculativeConfig } from "./speculative-config";

const floats = { float32: "f32", bfloat16: "bf16", float16: "f16" } as const;
type FloatName = keyof typeof floats;
type FloatDtype = (typeof floats)[FloatName];

export type DtypeName = "auto" | FloatName;

/** What matrices of floats become when they are loaded. */
export const quantizeNames = ["none", "fp8", "fp8-dynamic", "int8", "int4"] as const;
export type QuantizeName = (typeof quantizeNames)[number];

/** How a model is loaded and run; everything has a default. */
export interface EngineOptions {
  /** Default "auto": the best device that this build has and this machine offers. */
  readonly device?: "auto" | "cpu" | "cuda";
  /** CPU threads that compute. Default: one per core that the process may use. */
  readonly threads?: number;
  /**
   * Devices that compute the model together, each with a share of every layer (tensor parallel): GPUs of this host, from the first on,
   * or on a CPU threads of this process, among which `threads` are shared out. Default 1.
   */
  readonly tensorParallelSize?: number;
  /** Whether each of them has some experts whole, instead of some channels of every expert. Default false. */
  readonly enableExpertParallel?: boolean;
  /** Type of activations and matrices. Default "auto": the checkpoint's, or bfloat16 where it names none. */
  readonly dtype?: DtypeName;
  /** Type of the SSM state. Default "auto": what the checkpoint asks for, else float32. */
  readonly stateDtype?: DtypeName;
  /**
   * Type of the keys and values of attention. "fp8": e4m3, with the checkpoint's scales or 1, half the memory of bfloat16.
   * Default "auto": the activations'.
   */
  readonly kvCacheDtype?: "auto" | "fp8";
  /**
   * What the projections, experts and head of a checkpoint of floats become: "fp8" (e4m3, a scale for each row), "fp8-dynamic" (the
   * same, and a Hopper GPU rounds more than 16 rows of a projection's inputs too, unless it is deterministic), "int8" (a scale for
   * each 128 of a row), "int4" (scale and offset for each 32). What a checkpoint has as codes stays so. Default "none".
   */
  readonly quantize?: QuantizeName;
  /** Sequences that run at once; lowered, with a message, where their states would not fit. Default 64, on a GPU 256. */
  readonly maxNumSeqs?: number;
  /**
   * Tokens of one step. Default 512 on a CPU and 8192 on a GPU, and one for each running sequence, so that decodes take
   * nothing from a prefill's chunks.
   */
  readonly maxNumBatchedTokens?: number;
  /** Tokens of prompt and output together. Default 131072, or what the model has positions for. */
  readonly maxModelLen?: number;
  /** Requests that may wait. Default 1024. */
  readonly maxQueue?: number;
  /** Share of a GPU's memory that weights, workspace and states may take together, above 0 and at most 1. Default 0.9. */
  readonly gpuMemoryUtilization?: number;
  /** Launch a step before the tokens of the one before it have come. Default true; the tokens are the same either way. */
  readonly overlap?: boolean;
  /**
   * Keep states and KV pages of prompts, for later prompts that begin alike. Default true; on a CPU the tokens and their log
   * probabilities are the same either way.
   */
  readonly prefixCache?: boolean;
  /**
   * States that the prefix cache keeps on the device, as far as there is memory beside one sequence of the longest. Default: two
   * for each of maxNumSeqs, at least 16, within a fifth of the memory for states.
   */
  readonly prefixCacheStates?: number;
  /**
   * GiB of host memory for states that the prefix cache has no room for on the device. They are copied beside the steps; their
   * keys and values stay on the device. Default 0.
   */
  readonly prefixCacheHostMemory?: number;
  /**
   * How states lie in host memory. "auto": as they are on the device, so that a hit gives the bits of a miss. "int8": integers of
   * 8 bits, of each head and column the largest magnitude 127, so that about four times as many fit as of float32; a hit from
   * the host then gives other bits than a miss, and `deterministic` refuses it. Default "auto".
   */
  readonly prefixCacheHostDtype?: "auto" | "int8";
  /**
   * A request gets the same bits alone or in any batch, whatever its prompt is cut into, with the prefix cache and without,
   * preempted or not, on the same hardware and build. The SSM state is float32, nothing is guessed; a preempted request takes one step for each
   * token that it had generated. Default false.
   */
  readonly deterministic?: boolean;
  /** Guess next tokens and compute several at once. Where results do not depend on the batch, tokens are the same either way. */
  readonly speculativeConfig?: SpeculativeOptions;
  /** "dummy": random weights from config.json alone, for benchmarks. Default "auto". */
  readonly loadFormat?: "auto" | "dummy";
}

export interface EngineConfig extends SchedulerConfig {
  readonly overlap: boolean;
  /** Pages of the KV caches, of all sequences together; 0 for a model without attention. */
  readonly numPages: number;
  /** States of prompts' beginnings that are kept; 0 = no prefix cache. */
  readonly numSnapshots: number;
  /** As many more in host memory. */
  readonly numHostSnapshots: number;
}

export const defaults = { maxModelLen: 131_072, maxQueue: 1024, gpuMemoryUtilization: 0.9 };

/** Snapshots that are kept for each sequence that runs, and at least: a session needs one or two. */
const SNAPSHOTS_PER_SEQUENCE = 2;
const LEAST_SNAPSHOTS = 16;

export type DeviceKind = "cpu" | "cuda";

interface DeviceDefaults {
  readonly maxNumSeqs: number;
  /** Prompt tokens of one step: enough to fill the device's matrix units, few enough that decodes do not wait long. */
  readonly prefillTokens: number;
}

const ofDevice: Readonly<Record<DeviceKind, DeviceDefaults>> = {
  cpu: { maxNumSeqs: 64, prefillTokens: 512 },
  cuda: { maxNumSeqs: 256, prefillTokens: 8192 },
};

/**
 * Tokens of the longest sequence, for a model of `maxPositions`; absent where its layers know no limit. Throws ERR_ARGUMENT
 * for more than those.
 */
export function contextLength({ maxModelLen }: Pick<EngineOptions, "maxModelLen">, maxPositions = Infinity): number {
  if (maxModelLen === undefined) return Math.min(defaults.maxModelLen, maxPositions);
  if (maxModelLen <= maxPositions) return maxModelLen;
  const message = `maxModelLen must be at most the ${maxPositions} positions that the model's attention has, got ${maxModelLen}`;
  throw new EngineError("ERR_ARGUMENT", message, { subject: "maxModelLen" });
}

/** Sequences that are to run at once. */
export const wantedSequences = ({ maxNumSeqs }: Pick<EngineOptions, "maxNumSeqs">, kind: DeviceKind): number =>
  maxNumSeqs ?? ofDevice[kind].maxNumSeqs;

/** What is asked for, whether or not it fits in memory. No page is granted yet. */
export function engineConfig(
  options: EngineOptions,
  { kind, chunkSize, maxPositions }: { kind: DeviceKind; chunkSize: number; maxPositions?: number | undefined },
): EngineConfig {
  const { maxQueue = defaults.maxQueue, overlap = true } = options;
  const maxNumSeqs = wantedSequences(options, kind);
  const maxModelLen = contextLength(options, maxPositions);
  const { prefixCache = true, prefixCacheStates = Math.max(LEAST_SNAPSHOTS, SNAPSHOTS_PER_SEQUENCE * maxNumSeqs) } =
    options;
  const numSnapshots = prefixCache ? prefixCacheStates : 0;
  const { deterministic = false } = options;
  const sizes = withSequences(options, { kind, chunkSize, deterministic }, maxNumSeqs);
  const speculative = speculativeConfig(options.speculativeConfig);
  if (deterministic && speculative !== null) {
    // Attention cuts a row's keys by its length, guesses included.
    const message =
      "speculativeConfig cannot be had with deterministic: a row with guesses takes sums in another order";
    throw new EngineError("ERR_ARGUMENT", message, { subject: "speculativeConfig" });
  }
  return {
    ...sizes,
    chunkSize,
    deterministic,
    maxModelLen,
    maxQueue,
    overlap,
    speculative,
    numPages: 0,
    numSnapshots,
    numHostSnapshots: 0,
  };
}

/** The sizes that hang on how many sequences run at once. */
export function withSequences(
  { maxNumBatchedTokens }: EngineOptions,
  { kind, ...run }: { kind: DeviceKind } & Pick<EngineConfig, "chunkSize" | "deterministic">,
  maxNumSeqs: number,
): Pick<EngineConfig, "maxNumSeqs" | "maxNumBatchedTokens"> {
  const wanted = maxNumBatchedTokens ?? ofDevice[kind].prefillTokens + maxNumSeqs;
  return { maxNumSeqs, maxNumBatchedTokens: Math.max(wanted, leastBatchedTokens({ ...run, maxNumSeqs })) };
}

export interface Dtypes {
  /** Activations and matrices. */
  readonly compute: FloatDtype;
  /** Recurrent states. */
  readonly state: FloatDtype;
  /** Keys and values; u8: codes of e4m3. */
  readonly kv: FloatDtype | "u8";
}

/** Types of a model; throws ERR_ARGUMENT for a name that is none. */
export function resolveDtypes(
  {
    dtype = "auto",
    stateDtype = "auto",
    kvCacheDtype = "auto",
    deterministic = false,
  }: Pick<EngineOptions, "dtype" | "stateDtype" | "kvCacheDtype" | "deterministic">,
  model: { torchDtype: FloatName | null; mambaSsmCacheDtype?: FloatName },
): Dtypes {
  const computeName = dtype === "auto" ? (model.torchDtype ?? "bfloat16") : dtype;
  const usual = deterministic ? "float32" : (model.mambaSsmCacheDtype ?? "float32");
  const stateName = stateDtype === "auto" ? usual : stateDtype;
  expectFloat("dtype", computeName);
  expectFloat("stateDtype", stateName);
  if (deterministic && stateName !== "float32") {
    const message = `stateDtype must be auto or float32 with deterministic, got ${stateName}: a state of 16 bits is rounded wherever a prompt is cut`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "stateDtype" });
  }
  if (kvCacheDtype !== "auto" && kvCacheDtype !== "fp8") {
    const message = `kvCacheDtype must be auto or fp8, got ${kvCacheDtype}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "kvCacheDtype" });
  }
  const compute = floats[computeName];
  return { compute, state: floats[stateName], kv: kvCacheDtype === "fp8" ? "u8" : compute };
}

/** Throws ERR_ARGUMENT for a name that is none, and for int8 in the deterministic mode. */
export function hostDtypeOf({
  prefixCacheHostDtype = "auto",
  deterministic = false,
}: Pick<EngineOptions, "prefixCacheHostDtype" | "deterministic">): "auto" | "int8" {
  const subject = "prefixCacheHostDtype";
  if (prefixCacheHostDtype !== "auto" && prefixCacheHostDtype !== "int8") {
    const message = `${subject} must be auto or int8, got ${prefixCacheHostDtype}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject });
  }
  if (deterministic && prefixCacheHostDtype === "int8") {
    const message = `${subject} must be auto with deterministic, got int8: a state is rounded on its way to the host`;
    throw new EngineError("ERR_ARGUMENT", message, { subject });
  }
  return prefixCacheHostDtype;
}

/** null: they stay floats. Throws ERR_ARGUMENT for a name that is none. */
export function resolveQuantize({
  quantize = "none",
}: Pick<EngineOptions, "quantize">): Exclude<QuantizeName, "none"> | null {
  if (!quantizeNames.includes(quantize)) {
    const message = `quantize must be ${quantizeNames.join(", ")}, got ${quantize}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "quantize" });
  }
  return quantize === "none" ? null : quantize;
}

function expectFloat(option: string, value: string): void {
  const allowed = Object.keys(floats);
  if (allowed.includes(value)) return;
  const message = `${option} must be auto, ${allowed.join(" or ")}, got ${value}`;
  throw new EngineError("ERR_ARGUMENT", message, { subject: option });
}
