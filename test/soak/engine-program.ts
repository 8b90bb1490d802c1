/** The engine's process of the soak: src/supervisor/child.ts with a probe. The socket's path is its first argument. */
import { Socket } from "node:net";
import type { EngineStats } from "../../src/engine/policy/request";
import { type LoadedEngine, loadEngine } from "../../src/llm/load-engine";
import { loadModelConfig } from "../../src/models/config";
import { addon } from "../../src/native/load";
import { EngineHost } from "../../src/supervisor/engine-host";
import { Arena } from "../../src/tensor/arena";
import { answerSamples, type Sample } from "./probe";

export interface EngineSample extends Sample {
  readonly stats: EngineStats;
  /** Tensors, arenas, graphs, files and devices that have not been freed. */
  readonly handles: number;
  /** Bytes of the fullest moment of all arenas so far, and of the arenas themselves. */
  readonly arenaHighWater: number;
  readonly arenaBytes: number;
}

/** Live arenas and their bytes. */
const arenas = new Map<Arena, number>();
const { create } = Arena;
const { free } = Arena.prototype;
Arena.create = (device, bytes) => {
  const arena = create(device, bytes);
  arenas.set(arena, bytes);
  return arena;
};
Arena.prototype.free = function () {
  arenas.delete(this);
  free.call(this);
};

let loaded: LoadedEngine | undefined;
answerSamples(process.env.SOAK_ENGINE_SOCKET!, () => ({
  stats: loaded?.client.stats(),
  handles: addon().liveHandles(),
  arenaHighWater: [...arenas.keys()].reduce((sum, { highWater }) => sum + highWater, 0),
  arenaBytes: [...arenas.values()].reduce((sum, bytes) => sum + bytes, 0),
}));

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
new EngineHost(new Socket({ fd: 3, readable: true, writable: true }), async (dir, options) => {
  loaded = await loadEngine(dir, loadModelConfig(dir), options);
  return loaded;
});
