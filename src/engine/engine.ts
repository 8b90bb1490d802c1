import { performance } from "node:perf_hooks";
import { EngineError } from "../errors";
import type { Constraint } from "../grammar/compile";
import type { TokenConstraint } from "../grammar/constraint";
import type { StepResult } from "./model-runner";
import type { EngineConfig } from "./policy/config";
import { Planner, type PlannerExtras } from "./policy/planner";
import {
  type EngineClient,
  type EngineRequest,
  type EngineStats,
  type EngineToken,
  greedyRequest,
} from "./policy/request";
import type { ScheduledOutput } from "./policy/scheduler";
import type { ScheduledBatch } from "./policy/step-plan";
import { MAX_STEPS_IN_FLIGHT } from "./policy/steps-in-flight";
import { TokenChannel } from "./policy/token-channel";
import { QueueTimes } from "./queue-times";
import type { Runner } from "./runner";
import { StepCounts } from "./step-counts";
import type { StepTrace } from "./step-trace";
import { PromptLogprobs, readLogprobs } from "./token-logprobs";

export interface EngineExtras extends PlannerExtras {
  readonly trace?: StepTrace;
  /** Throws ERR_REQUEST. Default: every constraint is refused. */
  readonly compile?: (constraint: Constraint) => TokenConstraint;
}

function noConstraints(): never {
  const message = "a constraint needs the model's tokenizer, and this model was loaded without one";
  throw new EngineError("ERR_REQUEST", message, { subject: "constraint" });
}

const nothing = () => {};

interface Launched {
  readonly batch: ScheduledBatch;
  /** Never rejects. */
  readonly outcome: Promise<{ result: StepResult } | { error: unknown }>;
}

/**
 * The loop: schedule, run, commit, as long as there is work. With overlap a step is launched before the tokens of the one
 * before it have come, so that the device does not wait for the host; the tokens are the same.
 */
export class Engine implements EngineClient {
  private planner: Planner;
  private readonly newPlanner: () => Planner;
  private readonly maxStepsInFlight: number;
  private readonly trace: StepTrace | null;
  private readonly compile: (constraint: Constraint) => TokenConstraint;
  private readonly channels = new Map<string, TokenChannel>();
  private readonly promptLogprobs = new PromptLogprobs();
  /** Copies of states that are on their way. */
  private readonly transfers = new Set<Promise<void>>();
  private loop: Promise<void> | null = null;
  private closing: Promise<void> | null = null;
  private numScored = 0;
  private promptTokens = 0;
  private generatedTokens = 0;
  private readonly stepCounts = new StepCounts();
  private readonly queueTimes = new QueueTimes();
  /** When the last step ended; NaN before the first since the engine was idle. Milliseconds of an arbitrary clock. */
  private lastEnd = Number.NaN;

  /** `free` gives up the device; called once, when nothing runs any more. */
  constructor(
    private readonly runner: Pick<Runner, "step" | "transfer">,
    config: EngineConfig,
    private readonly free: () => void,
    { trace, compile = noConstraints, ...extras }: EngineExtras = {},
  ) {
    this.trace = trace ?? null;
    this.compile = compile;
    this.newPlanner = () => new Planner(config, extras);
    this.planner = this.newPlanner();
    this.maxStepsInFlight = config.overlap ? MAX_STEPS_IN_FLIGHT : 1;
  }

  submit(request: EngineRequest): AsyncIterableIterator<EngineToken> {
    if (this.closing !== null) throw new EngineError("ERR_CLOSED", "the engine is closed");
    const constraint = request.constraint === undefined ? null : this.compile(request.constraint).start();
    this.planner.scheduler.add(request, constraint);
    this.promptTokens += request.prompt.length;
    this.queueTimes.arrived(request.id);
    const channel = new TokenChannel(() => this.abort(request.id));
    this.channels.set(request.id, channel);
    this.loop ??= this.run();
    return channel;
  }

  abort(id: string): void {
    this.planner.scheduler.abort(id);
    this.settle(id);
  }

  /**
   * Natural log probability of each token after the first, given all before it. Throws what submit() does, and what a request fails
   * with.
   */
  async score(tokens: readonly number[]): Promise<Float32Array> {
    this.numScored += 1;
    const request = { ...greedyRequest(`score ${this.numScored}`, tokens, 1), promptLogprobs: 0 };
    // The scores come with a token, which nobody asked for.
    for await (const { promptLogprobs = [] } of this.submit(request)) {
      return Float32Array.from(promptLogprobs, ({ logprob }) => logprob);
    }
    throw new EngineError("ERR_CLOSED", "the engine was closed while it scored a text");
  }

  stats(): EngineStats {
    return {
      ...this.planner.stats(),
      ...this.stepCounts.all(),
      promptTokens: this.promptTokens,
      generatedTokens: this.generatedTokens,
    };
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    for (const id of [...this.channels.keys()]) this.abort(id);
    await this.loop?.catch(() => {});
    await Promise.all(this.transfers);
    this.free();
  }

  private async run(): Promise<void> {
    await undefined; // requests submitted in the same tick share the first step
    const inFlight: Launched[] = [];
    let handOn = nothing;
    this.lastEnd = Number.NaN;
    try {
      for (;;) {
        while (inFlight.length < this.maxStepsInFlight) {
          const batch = this.planner.scheduler.schedule();
          this.trace?.scheduled();
          if (batch !== null) inFlight.push(this.launch(batch));
          this.beginTransfers(); // after the step: it may read what they write
          if (batch === null) break;
        }
        // Not before the next step is launched: the device need not wait for readers.
        handOn();
        handOn = nothing;
        const oldest = inFlight.shift();
        if (oldest !== undefined) handOn = await this.finish(oldest);
        else if (this.transfers.size > 0) await Promise.race(this.transfers);
        else break;
      }
    } catch (error) {
      // A fault of the policy itself: nobody may wait for ever, and what it has become decides nothing more.
      await Promise.allSettled([...inFlight.map(({ outcome }) => outcome), ...this.transfers]);
      for (const id of [...this.channels.keys()]) this.settle(id, error);
      this.planner = this.newPlanner();
    } finally {
      this.loop = null;
    }
  }

  private launch(batch: ScheduledBatch): Launched {
    this.queueTimes.began(batch);
    const outcome = this.runner.step(batch).then(
      (result) => ({ result }),
      (error: unknown) => ({ error }),
    );
    return { batch, outcome };
  }

  private beginTransfers(): void {
    const { prefixes } = this.planner;
    const transfers = prefixes?.tiers.takeTransfers() ?? [];
    if (prefixes === null || transfers.length === 0) return;
    for (const [i, copied] of this.runner.transfer(transfers).entries()) {
      const settle = (failed: boolean) => prefixes.tiers.transferred(transfers[i]!, failed);
      const done: Promise<void> = copied
        .then(
          () => settle(false),
          () => settle(true),
        )
        .finally(() => this.transfers.delete(done));
      this.transfers.add(done);
    }
  }

  /** Gives what hands a step's tokens on. */
  private async finish({ batch, outcome }: Launched): Promise<() => void> {
    const settled = await outcome;
    this.trace?.received();
    if ("error" in settled) {
      for (const { id } of this.planner.scheduler.fail(batch)) this.settle(id, settled.error);
      return nothing;
    }
    this.stepCounts.add(batch);
    const { result } = settled;
    const [now, before] = [performance.now(), this.lastEnd];
    this.lastEnd = now;
    for (const scores of result.prompts) {
      const { id, numGenerated } = scores.sequence;
      if (numGenerated === 0 && this.channels.has(id)) this.promptLogprobs.add(scores);
    }
    const ms = Number.isNaN(before) ? undefined : now - before;
    const outputs = this.planner.scheduler.commit(batch, result.tokens, ms, result.ids);
    return () => {
      for (const output of outputs) this.deliver(output, result);
      this.trace?.delivered();
    };
  }

  private deliver({ sequence, token, finishReason, logitsRow, drafts }: ScheduledOutput, result: StepResult): void {
    if (token < 0) {
      const message = "the model produced logits that are not finite; its weights or this prompt are broken";
      this.settle(sequence.id, new EngineError("ERR_NON_FINITE", message));
      return;
    }
    this.generatedTokens += 1;
    const { logprobs: top } = sequence.request;
    const logprobs = top === null || result.logprobs === null ? null : readLogprobs(result.logprobs, logitsRow, top);
    const promptLogprobs = this.promptLogprobs.take(sequence.id);
    const isFirst = sequence.numGenerated === 1;
    const details = {
      ...(isFirst ? { queuedMs: this.queueTimes.of(sequence.id) } : {}),
      ...(promptLogprobs === undefined ? {} : { promptLogprobs }),
      ...(isFirst && sequence.numCached ? { numCached: sequence.numCached } : {}),
      ...(drafts === undefined ? {} : { drafts }),
    };
    this.channels.get(sequence.id)?.push({ id: token, logprobs, ...details, finishReason });
    if (finishReason !== null) this.settle(sequence.id);
  }

  /** Ends a request's iterable. */
  private settle(id: string, error?: unknown): void {
    this.promptLogprobs.take(id);
    this.queueTimes.forget(id);
    this.channels.get(id)?.end(error);
    this.channels.delete(id);
  }
}
