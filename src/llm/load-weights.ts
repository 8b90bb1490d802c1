import { type EngineOptions, resolveDtypes, resolveQuantize, wantedSequences } from "../engine/policy/config";
import { rowTokensOf, speculativeConfig } from "../engine/policy/speculative-config";
import { lagsStates } from "../engine/policy/state-lag";
import { EngineError } from "../errors";
import { ModelBuild } from "../layers/build";
import type { Rank } from "../layers/share";
import { loadModelConfig, type ModelConfig } from "../models/config";
import type { Drafter } from "../models/drafter";
import type { Model } from "../models/model";
import { loadModel } from "../models/registry";
import { dummyWeights, openWeights, type StoredWeights } from "../models/stored-weights";
import type { Device } from "../tensor/device";
import { DeviceLoader } from "../weights/device-loader";
import type { WeightScope } from "../weights/scope";
import { modelPath } from "./bundled-model";

export interface WeightOptions
  extends Pick<
    EngineOptions,
    | "dtype"
    | "stateDtype"
    | "kvCacheDtype"
    | "quantize"
    | "deterministic"
    | "loadFormat"
    | "maxNumSeqs"
    | "speculativeConfig"
  > {
  /** Which share of the model is loaded; default all of it. */
  readonly place?: Rank;
  /** Bytes of weights that are on the device, and of all; 0 where that is not known. */
  readonly onProgress?: (bytes: number, total: number) => void;
}

/** A model whose weights are on a device. */
export interface LoadedWeights {
  readonly model: Model;
  /** What guesses on the device; null where nothing does. */
  readonly drafter: Drafter | null;
  /** Bytes of the weights as they are stored. */
  readonly bytes: number;
  readonly parameters: number;
  readonly dtypes: ReturnType<typeof resolveDtypes>;
}

/** Builds the model of a directory, or of a file in GGUF, whose config has been read. Throws what reading weights does, and ERR_MEMORY. */
export async function loadWeights(
  dir: string,
  config: ModelConfig,
  device: Device,
  options: WeightOptions,
): Promise<LoadedWeights> {
  const speculative = speculativeConfig(options.speculativeConfig);
  const own = openStored(dir, options);
  if (speculative?.method === "mtp" && own.stored !== null) refuseWithoutMtp(dir, own.stored);
  const draft = speculative?.method === "draft_model" ? openDraft(speculative.model, config, options) : null;
  const total = (own.stored?.totalBytes ?? 0) + (draft?.stored?.totalBytes ?? 0);
  const dtypes = resolveDtypes(options, config);
  const onProgress = (bytes: number) => options.onProgress?.(bytes, total);
  const loader = new DeviceLoader(device, dtypes.compute, onProgress, resolveQuantize(options));
  const build = new ModelBuild(loader, {
    stateDtype: dtypes.state,
    kvDtype: dtypes.kv,
    rowTokens: rowTokensOf({ speculative }),
    withMtp: speculative?.method === "mtp",
    place: options.place,
    lags: lagsStates(device.kind, dtypes.state, wantedSequences(options, device.kind)),
  });
  try {
    const model = await loadModel(config, build, own.weights);
    refuseUnused(dir, own.weights.unused());
    const { parameters } = loader;
    const drafter = draft === null ? mtpOf(config, build, model) : await loadDraft(draft, build);
    return { model, drafter, bytes: loader.bytes, parameters, dtypes };
  } finally {
    loader.close();
  }
}

interface OpenedWeights {
  readonly dir: string;
  /** null: dummy weights. */
  readonly stored: StoredWeights | null;
  readonly weights: WeightScope;
}

function openStored(dir: string, { loadFormat }: WeightOptions): OpenedWeights {
  const stored = loadFormat === "dummy" ? null : openWeights(dir);
  return { dir, stored, weights: stored?.scope() ?? dummyWeights(dir) };
}

/** The smaller model, in the types of the one that it guesses for. */
function openDraft(name: string, { vocabSize }: ModelConfig, options: WeightOptions) {
  const dir = modelPath(name);
  const config = loadModelConfig(dir);
  if (config.vocabSize === vocabSize) return { config, ...openStored(dir, options) };
  const message = `speculativeConfig.model ${dir} has ${config.vocabSize} tokens, and the model that it guesses for ${vocabSize}; it needs the same tokenizer`;
  throw new EngineError("ERR_ARGUMENT", message, { subject: "speculativeConfig.model" });
}

async function loadDraft({ config, dir, weights }: ReturnType<typeof openDraft>, build: ModelBuild): Promise<Drafter> {
  const model = await loadModel(config, build, weights);
  refuseUnused(dir, weights.unused());
  return { kind: "draft_model", model };
}

function mtpOf({ modelType }: ModelConfig, { withMtp }: ModelBuild, { mtp }: Model): Drafter | null {
  if (mtp !== null) return { kind: "mtp", head: mtp };
  if (!withMtp) return null;
  const message = `speculativeConfig.method mtp: a model of type ${modelType} with this config.json has no head that predicts one token more; use ngram, suffix or draft_model`;
  throw new EngineError("ERR_MODEL_UNSUPPORTED", message, { subject: "speculativeConfig.method" });
}

function refuseWithoutMtp(dir: string, stored: StoredWeights): void {
  if (stored.names().some((name) => /(^|\.)mtp\./.test(name))) return;
  const message = `${dir}: speculativeConfig.method mtp needs the tensors mtp.*, and this checkpoint has none; use ngram, suffix or draft_model`;
  throw new EngineError("ERR_MODEL_UNSUPPORTED", message, { subject: "speculativeConfig.method" });
}

function refuseUnused(dir: string, unused: readonly string[]): void {
  if (unused.length === 0) return;
  const shown = unused.slice(0, 4).join(", ");
  const message = `${dir}: ${unused.length} tensors belong to no part of this model (${shown}${unused.length > 4 ? ", ..." : ""}); its config and its weights differ`;
  throw new EngineError("ERR_WEIGHTS", message);
}
