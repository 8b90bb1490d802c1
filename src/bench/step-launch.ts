import { BatchBuilder, type BatchCounts } from "../engine/batch";
import { sliceBatch } from "../engine/batch-tensors";
import type { ScheduledBatch } from "../engine/step-plan";
import { gatherRows } from "../ops/embedding";
import { sample } from "../ops/sampling";
import type { Arena } from "../tensor/arena";
import type { Device } from "../tensor/device";
import type { Tensor } from "../tensor/tensor";
import type { StepModel } from "./step-model";

/** The launches of one step, the same as ModelRunner makes, to be captured and timed on the device. */
export class StepLaunch {
  private readonly builder: BatchBuilder;
  private readonly counts: BatchCounts;
  private readonly arena: Arena;
  private readonly block: Tensor;

  constructor(
    private readonly device: Device,
    private readonly target: StepModel,
    batch: ScheduledBatch,
  ) {
    this.builder = new BatchBuilder({ ...target.limits, maxNumSeqs: batch.rows.length });
    this.counts = this.builder.build(batch);
    this.arena = device.arena(this.arenaBytes());
    this.block = this.arena.tensor("i32", [this.builder.layout.numWords]);
    device.stream.upload(this.block, this.builder.words);
  }

  readonly launch = (): void => this.arena.scope(() => this.launchOver(this.arena, this.block));

  free(): void {
    this.arena.free();
  }

  /** Captured over an arena without memory, which learns how much it takes. */
  private arenaBytes(): number {
    const measuring = this.device.measuringArena();
    const graph = this.device.stream.capture(() =>
      measuring.scope(() => this.launchOver(measuring, measuring.tensor("i32", [this.builder.layout.numWords]))),
    );
    graph.free();
    const bytes = measuring.highWater;
    measuring.free();
    return bytes;
  }

  private launchOver(arena: Arena, block: Tensor): void {
    const { stream } = this.device;
    const { model, state, config } = this.target;
    const batch = sliceBatch(block, this.builder.layout, this.counts);
    const f = { stream, arena, state, batch };
    const hidden = model.forward(f);
    const rows = this.counts.numLogits;
    const last = arena.tensor(hidden.dtype, [rows, hidden.size(1)]);
    const logits = arena.tensor("f32", [rows, config.vocabSize]);
    gatherRows(stream, { out: last, x: hidden, index: batch.logitsRows! });
    model.logits(f, last, logits);
    sample(stream, { tokens: arena.tensor("i32", [rows]), logits, params: batch.sampling! });
  }
}
