import assert from "node:assert/strict";
import fc from "fast-check";
import { padDecodes } from "../../../src/engine/policy/padding";
import { MAX_STEPS_IN_FLIGHT } from "../../../src/engine/policy/scheduler";
import type { SchedulerConfig } from "../../../src/engine/policy/scheduler-config";
import type { Sequence } from "../../../src/engine/policy/sequence";
import type { ScheduledBatch } from "../../../src/engine/policy/step-plan";
import { EngineError } from "../../../src/errors";
import { makeRequest } from "../../helpers/engine-request";
import { generateAlone, RecurrentModel } from "../../helpers/recurrent-model";
import { SlotScheduler } from "../../helpers/slot-scheduler";
import { MambaBlock } from "../../helpers/step-fields";
import { type TrafficEvent, trafficConfigs, trafficEvents } from "../../helpers/traffic";

const met = { overlap: 0, takenDraw: 0, droppedToken: 0, preemption: 0, rest: 0, abortInFlight: 0, mixedWithDraws: 0 };

/** Steps are launched while the one before them is not committed. */
class OverlappedTraffic {
  private readonly scheduler: SlotScheduler;
  private readonly block: MambaBlock;
  private readonly model: RecurrentModel;
  private readonly sequences: Sequence[] = [];
  private readonly delivered = new Map<Sequence, number[]>();
  private readonly inFlight: { batch: ScheduledBatch; tokens: readonly number[] }[] = [];
  /** Decodes that the last scheduled step left out. */
  private rested = new Set<Sequence>();

  constructor(private readonly config: SchedulerConfig) {
    this.scheduler = new SlotScheduler(config);
    const { maxNumSeqs, maxNumBatchedTokens, chunkSize } = config;
    const limits = { maxRows: maxNumSeqs, maxTokens: maxNumBatchedTokens, maxDraws: maxNumSeqs };
    this.block = new MambaBlock(limits, chunkSize);
    this.model = new RecurrentModel(config.maxNumSeqs);
  }

  handle(event: TrafficEvent): void {
    if (event.kind === "add") this.add(event.fields);
    else if (event.kind === "abort") this.abort(this.sequences[event.which % this.sequences.length]);
    else if (event.abortDuring !== null) {
      const rows = this.inFlight.at(-1)?.batch.rows ?? [];
      if (rows.length > 0) this.abort(rows[event.abortDuring % rows.length]!.sequence);
      this.commit();
    } else if (!this.launch()) this.commit();
  }

  /** Runs dry, always with as many steps in flight as there can be. */
  finish(): void {
    for (let step = 0; this.launch() || this.commit(); step++) assert.ok(step < 4000);
    const { numRunning, numWaiting, slots } = this.scheduler;
    assert.deepEqual([numRunning, numWaiting, slots.numUsed], [0, 0, 0]);
    for (const sequence of this.sequences) {
      const alone = generateAlone(sequence.request, this.config.maxModelLen);
      const tokens = this.delivered.get(sequence)!;
      if (sequence.finishReason === "abort") assert.deepEqual(alone.tokens.slice(0, tokens.length), tokens);
      else assert.deepEqual({ tokens, finishReason: sequence.finishReason }, alone);
    }
  }

  private add(fields: Parameters<typeof makeRequest>[0]): void {
    try {
      const sequence = this.scheduler.add(makeRequest({ ...fields, id: `request${this.sequences.length}` }));
      this.sequences.push(sequence);
      this.delivered.set(sequence, []);
    } catch (error) {
      assert.ok(EngineError.is(error) && error.code === "ERR_OVERLOADED");
    }
  }

  private abort(sequence: Sequence | undefined): void {
    if (sequence === undefined || sequence.isFinished) return;
    if (sequence.numInFlight > 0) met.abortInFlight += 1;
    this.scheduler.abort(sequence.id);
    assert.equal(sequence.finishReason, "abort");
  }

  /** False when no step can be launched now. */
  private launch(): boolean {
    if (this.inFlight.length === MAX_STEPS_IN_FLIGHT) return false;
    const before = this.sequences.filter((sequence) => sequence.slot >= 0 && !sequence.isFinished);
    const decodes = before.filter((sequence) => !sequence.isPrefill && !sequence.waitsForToken);
    const batch = this.scheduler.schedule();
    const scheduled = new Set((batch?.rows ?? []).map(({ sequence }) => sequence));
    const left = decodes.filter((sequence) => sequence.slot >= 0 && !scheduled.has(sequence));
    for (const sequence of left) assert.ok(!this.rested.has(sequence), "a decode waits for one step at most");
    met.rest += left.length;
    met.preemption += before.filter((sequence) => sequence.slot < 0).length;
    this.rested = new Set(left);
    if (batch === null) return false;
    this.check(batch);
    this.block.write(batch.numPrefills === 0 ? padDecodes(batch, this.config.maxNumSeqs) : batch);
    this.inFlight.push({ batch, tokens: this.model.run(this.block) });
    return true;
  }

  /** Budget kept, no slot shared, and no token drawn that a request has no room for. */
  private check({ rows, numPrefills, numTokens }: ScheduledBatch): void {
    assert.ok(numTokens <= this.config.maxNumBatchedTokens);
    const slots = rows.map(({ sequence }) => sequence.slot);
    assert.ok(slots.every((slot) => slot >= 0) && new Set(slots).size === slots.length);
    assert.ok(rows.every(({ sequence }) => sequence.length <= sequence.maxLength));
    const draws = rows.filter(({ draw }) => draw >= 0).length;
    met.takenDraw += draws;
    if (this.inFlight.length > 0) met.overlap += 1;
    if (draws > 0 && numPrefills > 0) met.mixedWithDraws += 1;
  }

  private commit(): boolean {
    const step = this.inFlight.shift();
    if (step === undefined) return false;
    const outputs = this.scheduler.commit(step.batch, step.tokens);
    met.droppedToken += step.batch.numDraws - outputs.length;
    for (const { sequence, token } of outputs) this.delivered.get(sequence)!.push(token);
    return true;
  }
}

test("with steps in flight, each request has the tokens it would have alone, and every rule holds", () => {
  fc.assert(
    fc.property(
      trafficConfigs,
      fc.array(trafficEvents, { minLength: 5, maxLength: 80, size: "max" }),
      (config, list) => {
        const traffic = new OverlappedTraffic(config);
        for (const event of list) traffic.handle(event);
        traffic.finish();
      },
    ),
    { numRuns: 400 },
  );
  for (const [name, count] of Object.entries(met)) expect({ name, often: count > 10 }).toEqual({ name, often: true });
});
