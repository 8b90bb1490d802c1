import { defaults } from "../engine/policy/config";
import {
  type EngineClient,
  type EngineHealth,
  type EngineRequest,
  type EngineStats,
  type EngineToken,
  noStats,
} from "../engine/policy/request";
import { EngineError } from "../errors";
import type { EngineInfo, EngineLoader, LoadedEngine, LoadOptions } from "../llm/load-engine";
import { type Deferred, deferred } from "./deferred";
import { EngineProcess, type EngineProgram, engineProgram } from "./engine-process";
import { type FromEngine, fromSent } from "./messages";
import { RemoteRequests } from "./remote-requests";
import { defaultRestartLimits, type RestartLimits, RestartPolicy } from "./restart-policy";
import { countsOf, sumOfStats } from "./sum-of-stats";
import { Watchdog } from "./watchdog";

export interface SupervisorOptions {
  /** A step that takes longer is taken for a hang. */
  readonly watchdogTimeoutMs: number;
  /** Called once the process has failed so often that it is not started again; the error says so. */
  readonly onGiveUp: (error: EngineError) => void;
  readonly restarts?: RestartLimits;
  readonly program?: EngineProgram;
  /** Variables of the process beside this one's. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called whenever a process is started. */
  readonly onStart?: () => void;
}

const TICK_MS = 250;
/** The process sends something twice a second. After so much silence it is replaced ... */
const SILENCE_MS = 30_000;
/** ... and after so much it is no longer called ready. */
const STALLED_MS = 5000;

/** Loads the engine in a process of its own, behind the caller; a process that ends or hangs is replaced. */
export function supervisedEngine(options: SupervisorOptions): EngineLoader {
  return (dir, _config, loadOptions) => new SupervisedEngine(dir, loadOptions, options);
}

/** An engine in a child process. When that ends, what runs fails with ERR_ENGINE_LOST and a new one is started. */
export class SupervisedEngine implements LoadedEngine, EngineClient {
  readonly client = this;
  info: EngineInfo | null = null;
  private process: EngineProcess | null = null;
  private readonly requests = new RemoteRequests((message) => this.process?.send(message));
  private readonly policy: RestartPolicy;
  private readonly ticking: NodeJS.Timeout;
  private restartTimer: NodeJS.Timeout | undefined;
  private readonly firstLoad = deferred();
  private readonly gone = deferred();
  private stopped = false;
  private restarts = 0;
  /** What the processes before the present one counted. */
  private pastCounts = noStats;
  /** Settled when the process that restart() asked for takes requests, or there will be none. */
  private replacement: Deferred | null = null;
  /** Whether the present process is to be followed by another as soon as it has ended. */
  private isReplaced = false;

  // What follows belongs to the present process.
  private watchdog: Watchdog;
  private isReady = false;
  private progress: number | null = null;
  private lastStats = noStats;
  /** What it said of its coming end. */
  private fault: string | null = null;

  constructor(
    private readonly dir: string,
    private readonly loadOptions: LoadOptions,
    private readonly options: SupervisorOptions,
  ) {
    this.policy = new RestartPolicy(options.restarts ?? defaultRestartLimits);
    this.firstLoad.promise.catch(() => {}); // whoever asks for it gets it
    this.watchdog = this.newWatchdog();
    this.ticking = setInterval(() => this.tick(), TICK_MS);
    this.start();
  }

  ready(): Promise<void> {
    return this.firstLoad.promise;
  }

  health(): EngineHealth {
    const { progress, restarts } = this;
    if (this.stopped) return { state: "stopped", progress: null, restarts };
    if (!this.isReady) return { state: this.isFirstLoad ? "loading" : "restarting", progress, restarts };
    const stalled = this.watchdog.silence * TICK_MS > STALLED_MS;
    return { state: stalled ? "stalled" : "ready", progress: null, restarts };
  }

  /** As of the process's last message, with what those before it have counted. */
  stats(): EngineStats {
    return sumOfStats(this.pastCounts, this.lastStats);
  }

  submit(request: EngineRequest): AsyncIterableIterator<EngineToken> {
    this.refuseUnlessReady();
    const { maxQueue = defaults.maxQueue } = this.loadOptions;
    // The engine counts exactly. This bounds what is on its way there.
    if (this.requests.size >= this.info!.config.maxNumSeqs + maxQueue) {
      throw new EngineError("ERR_OVERLOADED", `${maxQueue} requests are waiting already; try again later`);
    }
    return this.requests.submit(request);
  }

  abort(id: string): void {
    this.requests.abort(id);
  }

  async score(ids: readonly number[]): Promise<Float32Array> {
    this.refuseUnlessReady();
    return this.requests.score(ids);
  }

  /** Replaces the process, which is to run nothing any more; resolves when the new one takes requests. That counts as no failure. */
  restart(): Promise<void> {
    this.refuseUnlessReady();
    this.isReady = false;
    this.isReplaced = true;
    this.replacement = deferred();
    this.process!.close();
    return this.replacement.promise;
  }

  close(): Promise<void> {
    if (!this.stopped) {
      this.stop();
      this.requests.failAll(new EngineError("ERR_CLOSED", "the engine is closed"));
      if (this.process === null) this.gone.resolve();
      else this.process.close();
    }
    return this.gone.promise;
  }

  private get isFirstLoad(): boolean {
    return this.info === null && this.restarts === 0;
  }

  private refuseUnlessReady(): void {
    if (this.stopped) throw new EngineError("ERR_CLOSED", "the engine is closed");
    if (this.isReady) return;
    const state = this.isFirstLoad ? "being loaded" : "being loaded again after the engine's process ended";
    throw new EngineError("ERR_NOT_READY", `the model is ${state}; try again in a moment`);
  }

  private start(): void {
    this.watchdog = this.newWatchdog();
    this.pastCounts = sumOfStats(this.pastCounts, this.lastStats);
    this.lastStats = noStats;
    this.options.onStart?.();
    try {
      const { program = engineProgram, env } = this.options;
      this.process = new EngineProcess(program, {
        onMessage: (message) => this.handle(message),
        onEnd: (reason) => this.ended(reason),
        ...(env === undefined ? {} : { env }),
      });
    } catch (error) {
      this.ended(`it could not be started: ${(error as Error).message}`);
      return;
    }
    const { modelId, onProgress, onMessage, ...options } = this.loadOptions;
    this.process.send({ kind: "start", dir: this.dir, options });
  }

  private newWatchdog(): Watchdog {
    const step = this.options.watchdogTimeoutMs;
    // Loading calls the driver and reads files, either of which may block for long.
    const silence = this.isReady ? Math.min(SILENCE_MS, step) : Math.max(SILENCE_MS, step);
    return new Watchdog({ silence: silence / TICK_MS, step: step / TICK_MS });
  }

  private handle(message: FromEngine): void {
    this.watchdog.heard();
    switch (message.kind) {
      case "stats":
        this.lastStats = message.stats;
        this.watchdog.seen(message.stats);
        break;
      case "progress":
        this.progress = message.totalBytes > 0 ? message.loadedBytes / message.totalBytes : null;
        if (this.isFirstLoad) this.loadOptions.onProgress?.(message.loadedBytes, message.totalBytes);
        break;
      case "note":
        this.loadOptions.onMessage?.(message.text);
        break;
      case "ready":
        this.loaded(message.info);
        break;
      case "loadFailed":
        this.loadFailed(fromSent(message.error));
        break;
      default:
        if (message.kind === "ended" && message.error?.code === "ERR_DEVICE_LOST") {
          this.isReady = false;
          this.fault = message.error.message;
        }
        this.requests.handle(message);
    }
  }

  private loaded(info: EngineInfo): void {
    this.info = info;
    this.isReady = true;
    this.watchdog = this.newWatchdog();
    if (this.restarts > 0) this.loadOptions.onMessage?.("the engine is ready again");
    this.firstLoad.resolve();
    this.replacement?.resolve();
    this.replacement = null;
  }

  /** The first time there is no use in trying again; what has loaded before may do so once more. */
  private loadFailed(error: Error): void {
    this.fault = error.message;
    if (this.info !== null) return;
    this.stop();
    this.firstLoad.reject(error);
  }

  private tick(): void {
    if (this.process === null) return;
    const hang = this.watchdog.tick();
    if (hang === null) return;
    const reason = hang === "silent" ? "it gave no sign of life" : "a step took longer than the watchdog allows";
    this.process.kill(reason);
    this.lose(reason); // nobody waits for a process that takes long to die
  }

  private ended(how: string): void {
    const reason = this.fault ?? how;
    this.process = null;
    this.lose(reason);
    if (this.stopped) {
      this.gone.resolve();
      return;
    }
    if (this.isReplaced) {
      this.isReplaced = false;
      this.start();
      return;
    }
    const delay = this.policy.failed(performance.now());
    if (delay === null) {
      this.giveUp(reason);
      return;
    }
    this.restarts += 1;
    this.loadOptions.onMessage?.(`the engine's process ended (${reason}); it is started again in ${delay / 1000} s`);
    this.restartTimer = setTimeout(() => this.start(), delay);
  }

  private lose(reason: string): void {
    this.isReady = false;
    this.fault = null;
    this.progress = null;
    this.lastStats = countsOf(this.lastStats);
    const message = `the engine's process ended (${reason}) while this request ran`;
    this.requests.failAll(new EngineError("ERR_ENGINE_LOST", message));
  }

  private giveUp(reason: string): void {
    const { failures, windowMs } = this.options.restarts ?? defaultRestartLimits;
    const times = `${failures} times in ${windowMs / 60_000} minutes`;
    const message = `the engine's process ended ${times}, the last time with: ${reason}; it is not started again`;
    const error = new EngineError("ERR_ENGINE_LOST", message);
    this.stop();
    this.gone.resolve();
    this.firstLoad.reject(error);
    this.options.onGiveUp(error);
  }

  private stop(): void {
    this.stopped = true;
    this.replacement?.reject(new EngineError("ERR_CLOSED", "the engine is closed"));
    this.replacement = null;
    clearInterval(this.ticking);
    clearTimeout(this.restartTimer);
  }
}
