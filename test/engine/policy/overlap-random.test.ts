import assert from "node:assert/strict";
import fc from "fast-check";
import { padDecodes } from "../../../src/engine/policy/padding";
import type { Proposer } from "../../../src/engine/policy/proposer";
import type { SchedulerConfig } from "../../../src/engine/policy/scheduler-config";
import type { Sequence } from "../../../src/engine/policy/sequence";
import { maxDrawsOf, rowTokensOf } from "../../../src/engine/policy/speculative-config";
import { historyEntries } from "../../../src/engine/policy/state-lag";
import { type ScheduledBatch, type ScheduledRow, settles } from "../../../src/engine/policy/step-plan";
import { MAX_STEPS_IN_FLIGHT } from "../../../src/engine/policy/steps-in-flight";
import { EngineError } from "../../../src/errors";
import { makeRequest } from "../../helpers/engine-request";
import { generateAlone, RecurrentModel, vocabSize } from "../../helpers/recurrent-model";
import { Rng } from "../../helpers/rng";
import { free, SlotScheduler } from "../../helpers/slot-scheduler";
import { MambaBlock } from "../../helpers/step-fields";
import { type TrafficEvent, trafficConfigs, trafficEvents } from "../../helpers/traffic";

const rare = {
  overlap: 0,
  takenDraw: 0,
  droppedToken: 0,
  preemption: 0,
  rest: 0,
  abortInFlight: 0,
  mixedWithDraws: 0,
  lagging: 0,
};
const rareGuesses = {
  right: 0,
  wrong: 0,
  filled: 0,
  settled: 0,
  kept: 0,
  mixedWithGuesses: 0,
  abortInFlight: 0,
  preemption: 0,
};
const met = { ...rare, ...rareGuesses };

/** Guesses of a random quality, at random times. */
class RandomProposer implements Proposer {
  private readonly rng: Rng;

  constructor(
    private readonly maxModelLen: number,
    { seed, skill }: { seed: number; skill: number },
  ) {
    this.rng = new Rng(seed);
    this.skill = skill;
  }
  /** Share of guesses that are right. */
  private readonly skill: number;

  odds(): number {
    return this.rng.next() < 0.7 ? 0.8 : 0;
  }

  prospect = (): number => 0.8;

  propose({ request, tokens }: Sequence, most: number): number[] {
    const generated = tokens.length - request.prompt.length;
    const right = generateAlone(request, this.maxModelLen).tokens.slice(generated);
    return Array.from({ length: this.rng.integer(0, most) }, (_, i) =>
      this.rng.next() < this.skill ? (right[i] ?? 0) : this.rng.integer(0, vocabSize - 1),
    );
  }

  observe(_: Sequence, proposed: number, accepted: number): void {
    met.right += accepted;
    met.wrong += proposed - accepted;
  }
}

/** Steps are launched while the one before them is not committed. */
class OverlappedTraffic {
  private readonly scheduler: SlotScheduler;
  private readonly block: MambaBlock;
  private readonly model: RecurrentModel;
  /** What a history has room for. */
  private readonly entries: number;
  private readonly sequences: Sequence[] = [];
  private readonly delivered = new Map<Sequence, number[]>();
  private readonly inFlight: { batch: ScheduledBatch; tokens: readonly number[] }[] = [];
  /** Decodes that the last scheduled step left out. */
  private rested = new Set<Sequence>();

  constructor(
    private readonly config: SchedulerConfig,
    private readonly proposer?: Proposer,
  ) {
    this.scheduler = new SlotScheduler(config, proposer === undefined ? {} : { proposer, stepCosts: free });
    const { maxNumSeqs, maxNumBatchedTokens, chunkSize } = config;
    const limits = { maxRows: 2 * maxNumSeqs, maxTokens: maxNumBatchedTokens, maxDraws: maxDrawsOf(config) };
    this.block = new MambaBlock(limits, chunkSize);
    this.entries = historyEntries(rowTokensOf(config), config.laggingRows !== undefined);
    this.model = new RecurrentModel(config.maxNumSeqs, this.entries);
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
    const mayWait = (sequence: Sequence) => this.proposer !== undefined && sequence.numPending > 0;
    const decodes = before.filter((each) => !each.isPrefill && !each.waitsForToken && !mayWait(each));
    const batch = this.scheduler.schedule();
    const scheduled = new Set((batch?.rows ?? []).map(({ sequence }) => sequence));
    const left = decodes.filter((sequence) => sequence.slot >= 0 && !scheduled.has(sequence));
    for (const sequence of left) assert.ok(!this.rested.has(sequence), "a decode waits for one step at most");
    met.rest += left.length;
    met.preemption += before.filter((sequence) => sequence.slot < 0).length;
    this.rested = new Set(left);
    if (batch === null) return false;
    this.check(batch);
    this.block.write(batch.numPrefills === 0 ? this.padded(batch) : batch);
    this.inFlight.push({ batch, tokens: this.model.run(this.block) });
    return true;
  }

  /** Filled up to a graph's size, which the limits of the step must have room for. */
  private padded(batch: ScheduledBatch): ScheduledBatch {
    const length = batch.rows[0]!.numTokens;
    const size = length === 1 ? this.config.maxNumSeqs : 2 ** Math.ceil(Math.log2(batch.rows.length));
    return padDecodes(batch, size, length);
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
    this.checkGuesses(rows.slice(numPrefills), numPrefills);
  }

  /** Rows of one length, histories of what they have room for. */
  private checkGuesses(decodes: readonly ScheduledRow[], numPrefills: number): void {
    const rowTokens = rowTokensOf(this.config);
    for (const { numTokens, drafts, proposed = 0, replay } of decodes) {
      assert.equal(numTokens, decodes[0]!.numTokens);
      assert.ok(numTokens <= rowTokens);
      if (replay === undefined) continue;
      assert.ok(replay.held >= 0 && replay.held + numTokens <= this.entries);
      if (numTokens === 1 && replay.settles === settles.nothing) met.lagging += 1;
      if (replay.held > 0) met[replay.settles ? "settled" : "kept"] += 1;
      if (drafts.length > proposed) met.filled += 1;
      if (drafts.length > 0 && numPrefills > 0) met.mixedWithGuesses += 1;
    }
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
  expectMet(rare);
});

test("and so with several tokens of a row, of which later ones are guessed and may be taken back", () => {
  for (const name of Object.keys(met) as (keyof typeof met)[]) met[name] = 0;
  const guesses = fc.record({
    numSpeculativeTokens: fc.integer({ min: 1, max: 4 }),
    seed: fc.nat(),
    skill: fc.constantFrom(0, 0.6, 0.9, 1),
  });
  fc.assert(
    fc.property(
      trafficConfigs,
      guesses,
      fc.array(trafficEvents, { minLength: 5, maxLength: 80, size: "max" }),
      (config, { numSpeculativeTokens, ...guess }, list) => {
        const speculative = { method: "ngram", numSpeculativeTokens, promptLookupMin: 1, promptLookupMax: 1 } as const;
        const roomy = { ...config, maxNumBatchedTokens: 3 * config.maxNumBatchedTokens, speculative };
        const traffic = new OverlappedTraffic(roomy, new RandomProposer(config.maxModelLen, guess));
        for (const event of list) traffic.handle(event);
        traffic.finish();
      },
    ),
    { numRuns: 400 },
  );
  expectMet(rareGuesses);
});

function expectMet(names: Readonly<Record<string, number>>): void {
  const counts = Object.entries(met).filter(([name]) => name in names);
  for (const [name, count] of counts) expect({ name, often: count > 10 }).toEqual({ name, often: true });
}
