import { availableParallelism } from "node:os";
import { ReplicaRouter } from "../engine/policy/replica-router";
import type { EngineClient, EngineHealth, EngineRequest, EngineStats, EngineToken } from "../engine/policy/request";
import { EngineError } from "../errors";
import type { EngineInfo, EngineLoader, LoadedEngine, LoadOptions } from "../llm/load-engine";
import { sumOfStats } from "./sum-of-stats";
import { SupervisedEngine, type SupervisorOptions } from "./supervised-engine";

/** What a sequence that decodes holds up a new request by, in tokens of a prompt: its share of the steps that this waits for. */
const DECODE_BACKLOG = 16;

/** The states of several engines are the best of theirs, in this order. */
const states = ["ready", "loading", "restarting", "stalled", "stopped"] as const;

/** So many engines, each in a process of its own and with a GPU of its own, behind one. */
export class ReplicatedEngine implements LoadedEngine, EngineClient {
  readonly client = this;
  private readonly replicas: readonly Replica[];
  private readonly router = new ReplicaRouter();
  /** Where running requests are, by their ids. */
  private readonly placed = new Map<string, TrackedTokens>();
  private restarting: Promise<void> | null = null;

  static loader(count: number, options: SupervisorOptions, loaded: (engine: ReplicatedEngine) => void): EngineLoader {
    return (dir, _config, loadOptions) => {
      const engine = new ReplicatedEngine(count, dir, loadOptions, options);
      loaded(engine);
      return engine;
    };
  }

  constructor(count: number, dir: string, loadOptions: LoadOptions, options: SupervisorOptions) {
    const { onProgress, onMessage, threads = Math.max(1, Math.floor(availableParallelism() / count)) } = loadOptions;
    const loadedBytes = Array<number>(count).fill(0);
    let remaining = count;
    this.replicas = Array.from({ length: count }, (_, i) => {
      const ofReplica: LoadOptions = {
        ...loadOptions,
        threads,
        onProgress: (bytes, total) => {
          loadedBytes[i] = bytes;
          onProgress?.(
            loadedBytes.reduce((sum, each) => sum + each),
            total * count,
          );
        },
        onMessage: (text) => onMessage?.(`replica ${i}: ${text}`),
      };
      const engine = new SupervisedEngine(dir, ofReplica, {
        ...options,
        env: { ...options.env, CUDA_VISIBLE_DEVICES: gpuOf(i) },
        onStart: () => this.router.forget(i),
        onGiveUp: (error) => {
          remaining -= 1;
          if (remaining === 0) options.onGiveUp(error);
          else onMessage?.(`replica ${i}: ${error.message}; ${remaining} of ${count} go on`);
        },
      });
      return new Replica(engine);
    });
  }

  get info(): EngineInfo | null {
    return this.replicas.find(({ engine }) => engine.info !== null)?.engine.info ?? null;
  }

  async ready(): Promise<void> {
    await Promise.all(this.replicas.map(({ engine }) => engine.ready()));
  }

  health(): EngineHealth {
    const all = this.replicas.map(({ engine }) => engine.health());
    const state = states.find((each) => all.some((health) => health.state === each))!;
    const loading = all.flatMap(({ progress }) => (progress === null ? [] : [progress]));
    return {
      state,
      progress: state === "ready" || loading.length === 0 ? null : Math.min(...loading),
      restarts: all.reduce((sum, { restarts }) => sum + restarts, 0),
      replicas: { ready: all.filter((health) => health.state === "ready").length, total: all.length },
    };
  }

  /** One for each replica. */
  replicaStats(): EngineStats[] {
    return this.replicas.map(({ engine }) => engine.stats());
  }

  stats(): EngineStats {
    return this.replicaStats().reduce(sumOfStats);
  }

  submit(request: EngineRequest): AsyncIterableIterator<EngineToken> {
    if (this.placed.has(request.id)) {
      throw new EngineError("ERR_REQUEST", `request id "${request.id}" is in use`, { subject: "id" });
    }
    const candidates = this.replicas.map(({ isReady, backlog }) => ({ isReady, backlog }));
    for (;;) {
      const chosen = this.router.choose(request.prompt, request.cacheSalt ?? "", candidates);
      // One that is not ready says why.
      const { replica, work } = chosen ?? { replica: 0, work: 0 };
      try {
        const onEnd = () => this.placed.delete(request.id);
        const tokens = new TrackedTokens(this.replicas[replica]!, request, work, onEnd);
        this.placed.set(request.id, tokens);
        return tokens;
      } catch (error) {
        const isFull = EngineError.is(error) && error.code === "ERR_OVERLOADED";
        if (!isFull) throw error;
        candidates[replica] = { isReady: false, backlog: 0 };
        if (!candidates.some(({ isReady }) => isReady)) throw error;
      }
    }
  }

  abort(id: string): void {
    this.placed.get(id)?.abort();
  }

  score(ids: readonly number[]): Promise<Float32Array> {
    const replica = this.replicas.find(({ isReady }) => isReady) ?? this.replicas[0]!;
    return replica.engine.score(ids);
  }

  /** Restarts the replicas one after the other; each first ends what it runs, while the others take what comes. */
  restart(): Promise<void> {
    this.restarting ??= this.restartEach().finally(() => {
      this.restarting = null;
    });
    return this.restarting;
  }

  private async restartEach(): Promise<void> {
    for (const replica of this.replicas) await replica.restart();
  }

  async close(): Promise<void> {
    await Promise.all(this.replicas.map(({ engine }) => engine.close()));
  }
}

/** The GPU of a replica: of those that this process may use, each its own. */
function gpuOf(replica: number): string {
  const visible = process.env.CUDA_VISIBLE_DEVICES;
  // What there is none of is refused when the device is opened, which says so.
  return visible === undefined ? String(replica) : (visible.split(",")[replica] ?? "");
}

/** One engine, and the work that it has. */
class Replica {
  backlog = 0;
  private running = 0;
  private isDraining = false;
  private drained: () => void = () => {};

  constructor(readonly engine: SupervisedEngine) {}

  get isReady(): boolean {
    return !this.isDraining && this.engine.health().state === "ready";
  }

  begin(work: number): void {
    this.running += 1;
    this.backlog += work;
  }

  end(work: number): void {
    this.running -= 1;
    this.backlog -= work;
    if (this.running === 0) this.drained();
  }

  async restart(): Promise<void> {
    this.isDraining = true;
    try {
      if (this.running > 0) {
        await new Promise<void>((resolve) => {
          this.drained = resolve;
        });
      }
      await this.engine.restart();
    } finally {
      this.isDraining = false;
    }
  }
}

/** A request's tokens, which tell its replica what is left to do of it. */
class TrackedTokens implements AsyncIterableIterator<EngineToken> {
  private readonly tokens: AsyncIterableIterator<EngineToken>;
  private isPrefill = true;
  private isEnded = false;

  constructor(
    private readonly replica: Replica,
    private readonly request: EngineRequest,
    /** What is left of it, as a replica's backlog counts. */
    private work: number,
    private readonly onEnd: () => void,
  ) {
    this.tokens = replica.engine.submit(request);
    replica.begin(work);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<EngineToken>> {
    try {
      const result = await this.tokens.next();
      if (result.done || result.value.finishReason !== null) this.end();
      else if (this.isPrefill) this.decodes();
      return result;
    } catch (error) {
      this.end();
      throw error;
    }
  }

  async return(): Promise<IteratorResult<EngineToken>> {
    this.end();
    return (await this.tokens.return?.()) ?? { done: true, value: undefined };
  }

  abort(): void {
    this.replica.engine.abort(this.request.id);
    this.end();
  }

  private decodes(): void {
    this.isPrefill = false;
    this.replica.backlog += DECODE_BACKLOG - this.work;
    this.work = DECODE_BACKLOG;
  }

  private end(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.replica.end(this.work);
    this.onEnd();
  }
}
