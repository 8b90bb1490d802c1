import { Engine } from "../engine/engine";
import { openDevices } from "../engine/open-device";
import type { EngineConfig, EngineOptions } from "../engine/policy/config";
import type { MemoryPlan } from "../engine/policy/memory-plan";
import type { EngineClient, EngineHealth } from "../engine/policy/request";
import { prepareRunner } from "../engine/prepare-runner";
import { rehearse } from "../engine/rehearsal";
import type { ModelConfig } from "../models/config";
import { type Device, describeDevice } from "../tensor/device";
import { constraintCompiler } from "./constraint-compiler";
import { loadRanks } from "./load-ranks";

export interface LoadOptions extends EngineOptions {
  /** Name shown to clients. Default: the directory's name. */
  readonly modelId?: string;
  /** Called while weights are loaded; total is 0 when it is not known (dummy weights). */
  readonly onProgress?: (loadedBytes: number, totalBytes: number) => void;
  /** Called with what the user should know, such as a lowered max_num_seqs. */
  readonly onMessage?: (message: string) => void;
}

/** What is known of an engine once it is loaded. Plain data. */
export interface EngineInfo {
  readonly config: EngineConfig;
  readonly memory: MemoryPlan;
  readonly parameters: number;
  readonly device: string;
  readonly dtype: string;
  readonly stateDtype: string;
}

/** An engine in this process, or one in a child process that may still be loading. */
export interface LoadedEngine {
  readonly client: EngineClient;
  /** null until it has been loaded for the first time. */
  readonly info: EngineInfo | null;
  /** Settles when the first load does; never where the engine is closed before that. */
  ready(): Promise<void>;
  health(): EngineHealth;
  score(ids: readonly number[]): Promise<Float32Array>;
}

/** Makes the engine of a model directory whose config.json has been read. */
export type EngineLoader = (
  dir: string,
  config: ModelConfig,
  options: LoadOptions,
) => LoadedEngine | Promise<LoadedEngine>;

const names = { f32: "float32", bf16: "bfloat16", f16: "float16" } as const;

/** An engine in this process: weights, what prepareRunner() does, and a rehearsal; a failure frees what was built. */
export async function loadEngine(dir: string, config: ModelConfig, options: LoadOptions): Promise<LoadedEngine> {
  const devices = openDevices(options, options.onMessage);
  const [device] = devices as [Device];
  const close = () => {
    for (const each of devices) each.close();
  };
  try {
    const loaded = await loadRanks(dir, config, devices, options);
    const prepared = await prepareRunner(loaded.placed, config, options);
    if (prepared.note !== null) options.onMessage?.(prepared.note);
    await rehearse(prepared.runner, prepared.config);
    const description = device.describe();
    const ranks = devices.length === 1 ? "" : `${devices.length} ranks of `;
    const client = new Engine(prepared.runner, prepared.config, close, {
      ...(options.loadFormat === "dummy" ? {} : { compile: constraintCompiler(dir, config) }),
    });
    return {
      client,
      info: {
        config: prepared.config,
        memory: { weights: loaded.bytes, ...prepared.memory },
        parameters: loaded.parameters,
        device: `${description.kind} (${ranks}${describeDevice(description)})`,
        dtype: names[loaded.dtypes.compute],
        stateDtype: names[loaded.dtypes.state],
      },
      ready: async () => {},
      health: () => ({ state: "ready", progress: null, restarts: 0 }),
      score: (ids) => client.score(ids),
    };
  } catch (error) {
    close();
    throw error;
  }
}
