import { KvPages } from "../engine/policy/kv-pages";
import { batchOf, noDrafts, type ScheduledBatch, type ScheduledRow } from "../engine/policy/step-plan";
import { EngineError } from "../errors";
import type { Device, DeviceKind } from "../tensor/device";
import { floorMicroseconds, type Rates } from "./floor";
import { hardwareOf, rounded } from "./kernel-bench";
import { type PeerFigures, peerOfStep } from "./peers";
import { benchSequence } from "./sequences";
import type { StepModel } from "./step-model";
import { median, Timer } from "./timer";

export type StepFigure = "decode_step_ms" | "prefill_ms";

/** A line of bench/results; times are medians in milliseconds. */
export interface StepResult {
  readonly figure: StepFigure;
  readonly model: string;
  /** Sequences of a decode step, tokens of a prefill. */
  readonly size: number;
  /** Tokens that each sequence has already. */
  readonly context: number;
  readonly device: DeviceKind;
  readonly hardware: string;
  readonly dtype: string;
  readonly state_dtype: string;
  /** Type of keys and values; u8: codes of e4m3. */
  readonly kv_dtype: string;
  /** What matrices of floats were made. */
  readonly quantize: string;
  /** On the device, under graph replay. */
  readonly ms: number;
  /** As the engine's event loop sees a step: upload, launches (a decode replays a graph), download of the tokens. */
  readonly wall_ms: number;
  readonly bytes: number;
  readonly flops: number;
  readonly floor_ms: number;
  /** floor_ms / ms */
  readonly share: number;
  readonly peer: string | null;
  readonly peer_ms: number | null;
  /** Whether in the deterministic mode; and then how much longer `ms` is than without it, as a share of that. */
  readonly deterministic: boolean;
  readonly cost: number | null;
}

/** Peers decode under graph replay and prefill eagerly; each of ours is compared as theirs was measured. */
export function comparedMs({ figure, ms, wall_ms }: Pick<StepResult, "figure" | "ms" | "wall_ms">): number {
  return figure === "decode_step_ms" ? ms : wall_ms;
}

/** Times whole steps of a model. */
export class StepBench {
  private readonly timer: Timer;
  private readonly hardware: string;
  private readonly pages: KvPages;

  constructor(
    private readonly device: Device,
    private readonly target: StepModel,
    private readonly rates: Rates,
    private readonly peers: PeerFigures | null,
    runs: number,
  ) {
    this.timer = new Timer(device, runs);
    this.hardware = hardwareOf(device);
    this.pages = new KvPages(target.limits.numPages);
  }

  /** One more token for each of `sequences`, which have `context` tokens already. Throws ERR_MEMORY. */
  decode(sequences: number, context: number): Promise<StepResult> {
    const rows = Array.from({ length: sequences }, (_, i) => rowOf(i, context, 1));
    return this.measure("decode_step_ms", sequences, batchOf(rows, 0));
  }

  /** A prompt of `tokens` tokens, and the first drawn one. */
  prefill(tokens: number): Promise<StepResult> {
    return this.measure("prefill_ms", tokens, batchOf([rowOf(0, 0, tokens)], 1));
  }

  private async measure(figure: StepFigure, size: number, batch: ScheduledBatch): Promise<StepResult> {
    const { target, rates } = this;
    const context = batch.rows[0]!.start;
    this.reserve(batch);
    const ms = (await this.timer.microseconds(target.runner.launchOf(batch), { flush: false })) / 1e3;
    const wallMs = await this.wallMilliseconds(batch);
    for (const { sequence } of batch.rows) this.pages.release(sequence);
    const { bytes, flops } = target.model.work({
      tokens: batch.numTokens,
      sequences: batch.rows.length,
      context,
    });
    const floorMs = floorMicroseconds({ bytes, flops }, rates) / 1e3;
    const peer = this.peers === null ? null : peerOfStep(this.peers, target.name, figure, size);
    return {
      figure,
      model: target.name,
      size,
      context,
      device: this.device.kind,
      hardware: this.hardware,
      dtype: target.dtypes.compute,
      state_dtype: target.dtypes.state,
      kv_dtype: target.dtypes.kv,
      quantize: target.quantize,
      ms: rounded(ms),
      wall_ms: rounded(wallMs),
      bytes,
      flops,
      floor_ms: rounded(floorMs),
      share: rounded(floorMs / ms),
      peer: peer?.peer ?? null,
      peer_ms: peer?.ms ?? null,
      deterministic: target.limits.deterministic ?? false,
      cost: null,
    };
  }

  private reserve({ rows }: ScheduledBatch): void {
    if (this.target.limits.numPages === 0) return;
    for (const { sequence, start, numTokens } of rows) {
      if (this.pages.reserve(sequence, start + numTokens)) continue;
      const message = `${rows.length} sequences of ${start + numTokens} tokens need more pages than the ${this.pages.numPages} that there is memory for; take fewer (--batch) or shorter ones (--context)`;
      throw new EngineError("ERR_MEMORY", message, { subject: "context" });
    }
  }

  private async wallMilliseconds(batch: ScheduledBatch): Promise<number> {
    const times: number[] = [];
    await this.target.runner.step(batch);
    for (let i = 0; i < this.timer.runs; i++) {
      const begin = performance.now();
      await this.target.runner.step(batch);
      times.push(performance.now() - begin);
    }
    return median(times);
  }
}

function rowOf(index: number, start: number, numTokens: number): ScheduledRow {
  const sequence = benchSequence(start + numTokens, index);
  sequence.slot = index;
  return { sequence, start, numTokens, draws: 1, draw: -1, drafts: noDrafts };
}
