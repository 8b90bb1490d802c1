import assert from "node:assert/strict";
import fc from "fast-check";
import { padDecodes } from "../../../src/engine/policy/padding";
import type { EngineRequest } from "../../../src/engine/policy/request";
import type { SchedulerConfig } from "../../../src/engine/policy/scheduler-config";
import type { Sequence } from "../../../src/engine/policy/sequence";
import { historyEntries } from "../../../src/engine/policy/state-lag";
import type { ScheduledBatch, ScheduledRow } from "../../../src/engine/policy/step-plan";
import { makeRequest } from "../../helpers/engine-request";
import { generateAlone, RecurrentModel } from "../../helpers/recurrent-model";
import { SlotScheduler } from "../../helpers/slot-scheduler";
import { MambaBlock } from "../../helpers/step-fields";
import { trafficConfigs, trafficEvents } from "../../helpers/traffic";

/** How often the random traffic met the rare cases: a property that never meets one would prove nothing about it. */
const met = {
  preemption: 0,
  abortDuringStep: 0,
  abortWaiting: 0,
  unalignedCut: 0,
  overload: 0,
  promptTail: 0,
  penalisedPreemption: 0,
  mixedStep: 0,
  stop: 0,
};

/** A sequence as it was before the step. */
interface Before {
  readonly hadSlot: boolean;
  readonly wasDecoding: boolean;
}

/** A scheduler, the metadata of its steps and a model behind them, checked after every call. */
class Traffic {
  private readonly scheduler: SlotScheduler;
  private readonly block: MambaBlock;
  private readonly model: RecurrentModel;
  private readonly sequences: Sequence[] = [];
  private readonly delivered = new Map<Sequence, number[]>();

  constructor(private readonly config: SchedulerConfig) {
    this.scheduler = new SlotScheduler(config);
    const { maxNumSeqs, maxNumBatchedTokens, chunkSize } = config;
    const limits = { maxRows: maxNumSeqs, maxTokens: maxNumBatchedTokens, maxDraws: maxNumSeqs };
    this.block = new MambaBlock(limits, chunkSize);
    this.model = new RecurrentModel(config.maxNumSeqs, historyEntries(1, config.laggingRows !== undefined));
  }

  private alive = () => this.sequences.filter((sequence) => sequence.finishReason === null);
  private waiting = () => this.alive().filter((sequence) => sequence.slot < 0);
  private running = () => this.alive().filter((sequence) => sequence.slot >= 0);

  add(fields: Omit<Partial<EngineRequest>, "id">): void {
    const request = makeRequest({ ...fields, id: `request${this.sequences.length}` });
    if (this.waiting().length >= this.config.maxQueue) {
      met.overload += 1;
      assert.throws(() => this.scheduler.add(request), { code: "ERR_OVERLOADED" });
      return;
    }
    const sequence = this.scheduler.add(request);
    this.sequences.push(sequence);
    this.delivered.set(sequence, []);
  }

  abort(which: number): void {
    const sequence = this.sequences[which % this.sequences.length];
    if (sequence === undefined) return;
    const wasAlive = sequence.finishReason === null;
    if (wasAlive && sequence.slot < 0) met.abortWaiting += 1;
    assert.equal(this.scheduler.abort(sequence.id), wasAlive);
    if (wasAlive) assert.equal(sequence.finishReason, "abort");
  }

  /** False when there is nothing to do. */
  step(abortDuring: number | null): boolean {
    const before = new Map(this.alive().map((sequence) => [sequence, describeBefore(sequence)]));
    const batch = this.scheduler.schedule();
    if (batch === null) {
      assert.deepEqual(this.alive(), []);
      return false;
    }
    this.checkShape(batch);
    this.checkDecodes(batch, before);
    this.checkAdmission(batch, before);
    this.checkCuts(batch, before);

    this.block.write(batch.numPrefills === 0 ? padDecodes(batch, this.config.maxNumSeqs) : batch);
    const penalised = batch.rows.filter(({ sequence }) => sequence.request.sampling.penalties !== undefined).length;
    assert.equal(this.block.array("countedRows").length > 0, penalised > 0);
    if (penalised > 0 && penalised < batch.rows.length) met.mixedStep += 1;
    const tokens = this.model.run(this.block);
    if (abortDuring !== null) {
      const { sequence } = batch.rows[abortDuring % batch.rows.length]!;
      const { numUsed } = this.scheduler.slots;
      this.scheduler.abort(sequence.id);
      met.abortDuringStep += 1;
      assert.equal(this.scheduler.slots.numUsed, numUsed);
    }
    for (const { sequence, token, finishReason } of this.scheduler.commit(batch, tokens)) {
      assert.equal(sequence.finishReason, finishReason);
      this.delivered.get(sequence)!.push(token);
    }
    assert.equal(this.scheduler.slots.numUsed, this.running().length);
    assert.equal(this.scheduler.numRunning, this.running().length);
    assert.equal(this.scheduler.numWaiting, this.waiting().length);
    return true;
  }

  /** Budget kept, prefills first, slots in range and not shared, the right rows draw. */
  private checkShape({ rows, numPrefills, numTokens, numDraws }: ScheduledBatch): void {
    const total = rows.reduce((sum, row) => sum + row.numTokens, 0);
    assert.equal(numTokens, total);
    assert.ok(total <= this.config.maxNumBatchedTokens);
    const isDecode = (row: ScheduledRow) => row.start >= row.sequence.numToPrefill;
    assert.ok(rows.every((row, index) => row.numTokens > 0 && isDecode(row) === index >= numPrefills));
    const slots = this.running().map((sequence) => sequence.slot);
    assert.equal(new Set(slots).size, slots.length);
    assert.ok(slots.every((slot) => slot < this.config.maxNumSeqs));
    assert.equal(new Set(rows.map((row) => row.sequence)).size, rows.length);
    assert.ok(rows.every((row) => row.draws === Number(row.start + row.numTokens === row.sequence.tokens.length)));
    assert.equal(rows.filter((row) => row.draws > 0).length, numDraws);
    assert.ok(rows.slice(numPrefills).every((row) => row.numTokens === 1 && row.draws === 1));
    met.promptTail += rows.slice(0, numPrefills).filter((row) => row.start > 0 && row.numTokens === 1).length;
  }

  /** Every decode is in the step, except a preempted one. */
  private checkDecodes({ rows }: ScheduledBatch, before: Map<Sequence, Before>): void {
    const scheduled = new Set(rows.map((row) => row.sequence));
    for (const [sequence, { hadSlot, wasDecoding }] of before) {
      const mustRun = hadSlot && wasDecoding && sequence.slot >= 0;
      assert.ok(!mustRun || scheduled.has(sequence));
    }
  }

  /** Rank decides who comes in and who goes out, and only a lower priority goes out for a higher. */
  private checkAdmission({ rows }: ScheduledBatch, before: Map<Sequence, Before>): void {
    const admitted = this.running().filter((sequence) => !before.get(sequence)!.hadSlot);
    for (const sequence of admitted) {
      assert.ok(this.waiting().every((other) => ranks(sequence, other)));
      assert.ok(rows.some((row) => row.sequence === sequence));
    }

    const preempted = this.waiting().filter((sequence) => before.get(sequence)!.hadSlot);
    met.preemption += preempted.length;
    const isPenalised = ({ request, numGenerated }: Sequence) =>
      request.sampling.penalties !== undefined && numGenerated > 0;
    met.penalisedPreemption += preempted.filter(isPenalised).length;
    assert.ok(preempted.length <= admitted.length);
    for (const sequence of preempted) {
      assert.equal(sequence.numComputed, 0);
      assert.equal(this.scheduler.slots.numFree, 0);
      assert.ok(admitted.some((other) => other.request.priority < sequence.request.priority));
      assert.ok(this.running().every((other) => ranks(other, sequence)));
    }
  }

  /** Prefills end on multiples of the chunk where the budget allows, and none lacks budget that went further down. */
  private checkCuts({ rows, numTokens }: ScheduledBatch, before: Map<Sequence, Before>): void {
    const { chunkSize, maxNumBatchedTokens } = this.config;
    const scheduled = new Map(rows.map((row) => [row.sequence, row.numTokens]));
    const given = (sequence: Sequence) => scheduled.get(sequence) ?? 0;
    const toBoundary = (position: number) => chunkSize - (position % chunkSize);
    const prefills = this.alive().filter((sequence) => {
      const { hadSlot, wasDecoding } = before.get(sequence)!;
      return !(hadSlot && wasDecoding);
    });
    // A preempted decode's token goes to the one that took its slot, not up the ranks.
    const takenBack = this.waiting().filter((sequence) => before.get(sequence)!.hadSlot).length;
    for (const sequence of prefills) {
      const end = sequence.numComputed + given(sequence);
      const remaining = sequence.tokens.length - end;
      if (remaining === 0) continue;
      if (given(sequence) > 0 && end % chunkSize > 0) {
        met.unalignedCut += 1;
        assert.equal(numTokens, maxNumBatchedTokens);
        assert.ok(given(sequence) < toBoundary(sequence.numComputed));
        assert.ok(prefills.reduce((sum, other) => sum + given(other), -given(sequence)) <= takenBack);
      }
      const couldRun = sequence.slot >= 0 || (sequence === this.head() && this.slotFor(sequence));
      const further = prefills.reduce((sum, other) => sum + (ranks(sequence, other) ? given(other) : 0), 0);
      const available = maxNumBatchedTokens - numTokens + further - takenBack;
      if (couldRun) assert.ok(available < Math.min(remaining, toBoundary(end)));
    }
  }

  private head = () => this.waiting().reduce((best, sequence) => (ranks(sequence, best) ? sequence : best));
  private slotFor = ({ request }: Sequence) =>
    this.scheduler.slots.numFree > 0 || this.running().some((other) => other.request.priority > request.priority);

  /** Runs dry: everything ends, with the tokens it would have alone, and nothing is left behind. */
  finish(): void {
    let numSteps = 0;
    while (this.step(null)) assert.ok(++numSteps < 2000);
    const { numRunning, numWaiting, slots } = this.scheduler;
    assert.deepEqual([numRunning, numWaiting, slots.numUsed], [0, 0, 0]);
    for (const sequence of this.sequences) {
      const alone = generateAlone(sequence.request, this.config.maxModelLen);
      const tokens = this.delivered.get(sequence)!;
      assert.deepEqual(sequence.tokens.slice(sequence.request.prompt.length), tokens);
      if (sequence.finishReason === "abort") assert.deepEqual(alone.tokens.slice(0, tokens.length), tokens);
      else assert.deepEqual({ tokens, finishReason: sequence.finishReason }, alone);
      if (sequence.finishReason === "stop") met.stop += 1;
    }
  }
}

const describeBefore = (sequence: Sequence): Before => ({
  hadSlot: sequence.slot >= 0,
  wasDecoding: sequence.numComputed >= sequence.numToPrefill,
});

/** The order of service, from the requests themselves: ids count arrivals. */
function ranks(a: Sequence, b: Sequence): boolean {
  const arrival = ({ id }: Sequence) => Number(id.slice("request".length));
  return (
    a.request.priority < b.request.priority || (a.request.priority === b.request.priority && arrival(a) < arrival(b))
  );
}

test("random traffic keeps every rule, and each request has the tokens it would have alone", () => {
  fc.assert(
    fc.property(
      trafficConfigs,
      fc.array(trafficEvents, { minLength: 5, maxLength: 80, size: "max" }),
      (config, list) => {
        const traffic = new Traffic(config);
        for (const event of list) {
          if (event.kind === "add") traffic.add(event.fields);
          else if (event.kind === "abort") traffic.abort(event.which);
          else traffic.step(event.abortDuring);
        }
        traffic.finish();
      },
    ),
    { numRuns: 400 },
  );
  for (const [name, count] of Object.entries(met)) expect({ name, often: count > 10 }).toEqual({ name, often: true });
});
