import assert from "node:assert/strict";
import { KvPages, PAGE_SIZE } from "../../src/engine/policy/kv-pages";
import { PrefixCache } from "../../src/engine/policy/prefix-cache";
import type { EngineRequest } from "../../src/engine/policy/request";
import { Scheduler } from "../../src/engine/policy/scheduler";
import type { SchedulerConfig } from "../../src/engine/policy/scheduler-config";
import type { Sequence } from "../../src/engine/policy/sequence";
import { CompositeMemory } from "../../src/engine/policy/sequence-memory";
import type { Transfer } from "../../src/engine/policy/snapshot-tiers";
import { StateSlots } from "../../src/engine/policy/state-slots";
import type { ScheduledBatch, ScheduledRow } from "../../src/engine/policy/step-plan";
import { MAX_STEPS_IN_FLIGHT } from "../../src/engine/policy/steps-in-flight";
import { EngineError } from "../../src/errors";
import { makeRequest } from "./engine-request";
import { generateAlone, RecurrentModel } from "./recurrent-model";
import { MambaBlock } from "./step-fields";

/** How often the random traffic met each case: a property that never meets one would prove nothing about it. */
export const met = {
  hit: 0,
  hitBesideItsEviction: 0,
  sharedPage: 0,
  slotEviction: 0,
  pageEviction: 0,
  preemption: 0,
  hitAfterPreemption: 0,
  penalisedHit: 0,
  twoSnapshotsInARow: 0,
  failedSnapshot: 0,
  abortedSnapshot: 0,
  unalignedCut: 0,
  tokenComputedAgain: 0,
  noBudget: 0,
  copyToHost: 0,
  copyToDevice: 0,
  failedCopy: 0,
  launchBesideACopy: 0,
  waitedForAnother: 0,
};

export interface CacheConfig extends SchedulerConfig {
  readonly numSnapshots: number;
  readonly numPages: number;
  readonly numHostSnapshots: number;
  readonly deterministic: boolean;
}

/** What a place holds while a copy to it is on its way. */
const HALF_WRITTEN = 0xbadbad;

interface Launched {
  readonly batch: ScheduledBatch;
  readonly tokens: number[];
}

/** A scheduler with a prefix cache and a model of states and pages behind it, checked after every call. */
export class Traffic {
  private readonly slots: StateSlots;
  private readonly pages: KvPages;
  private readonly cache: PrefixCache;
  private readonly scheduler: Scheduler;
  private readonly block: MambaBlock;
  private readonly model: RecurrentModel;
  /** The token of each place of each page: its keys and values. */
  private readonly kv: Int32Array;
  private readonly inFlight: Launched[] = [];
  /** States in host memory, and the copies that are on their way. */
  private readonly host: Uint32Array;
  private readonly copying: Transfer[] = [];
  private readonly sequences: Sequence[] = [];
  private readonly delivered = new Map<Sequence, number[]>();

  constructor(private readonly config: CacheConfig) {
    const { maxNumSeqs, maxNumBatchedTokens, chunkSize, numSnapshots, numPages } = config;
    this.slots = new StateSlots(maxNumSeqs);
    this.pages = new KvPages(numPages);
    this.cache = new PrefixCache(config, this.pages);
    const paged = numPages > 0 ? [this.pages] : [];
    const memory = new CompositeMemory([this.cache, this.slots, ...paged]);
    this.scheduler = new Scheduler(config, { memory, prefixes: this.cache });
    const limits = { maxRows: maxNumSeqs, maxTokens: maxNumBatchedTokens, maxDraws: maxNumSeqs };
    this.block = new MambaBlock(limits, chunkSize);
    this.model = new RecurrentModel(maxNumSeqs + numSnapshots);
    this.kv = new Int32Array(numPages * PAGE_SIZE).fill(-1);
    this.host = new Uint32Array(config.numHostSnapshots);
    if (numSnapshots === 0) met.noBudget += 1;
  }

  add(fields: Omit<Partial<EngineRequest>, "id">): void {
    try {
      const sequence = this.scheduler.add(makeRequest({ ...fields, id: `request${this.sequences.length}` }));
      this.sequences.push(sequence);
      this.delivered.set(sequence, []);
    } catch (error) {
      assert.ok(EngineError.is(error) && (error.code === "ERR_OVERLOADED" || error.code === "ERR_TOO_LONG"));
    }
  }

  abort(which: number): void {
    const sequence = this.sequences[which % this.sequences.length];
    if (sequence === undefined || sequence.isFinished) return;
    const rows = this.inFlight.flatMap(({ batch }) => batch.rows);
    if (rows.some((row) => row.sequence === sequence && (row.snapshots?.length ?? 0) > 0)) met.abortedSnapshot += 1;
    this.scheduler.abort(sequence.id);
  }

  /** False when no step can be launched now. */
  launch(): boolean {
    if (this.inFlight.length === MAX_STEPS_IN_FLIGHT) return false;
    const running = this.sequences.filter(({ slot }) => slot >= 0);
    const before = { snapshots: this.cache.tiers.numOnDevice, idle: this.pages.numIdle };
    const waiting = this.sequences.filter(({ slot, isFinished }) => slot < 0 && !isFinished);
    met.waitedForAnother += waiting.filter((sequence) => this.cache.follows(sequence)).length;
    const batch = this.scheduler.schedule();
    if (batch !== null && this.copying.length > 0) met.launchBesideACopy += 1;
    met.preemption += running.filter(({ slot }) => slot < 0).length;
    if (this.pages.numIdle < before.idle && this.cache.tiers.numOnDevice < before.snapshots) met.pageEviction += 1;
    if (batch === null) {
      this.beginCopies();
      return false;
    }
    this.check(batch);
    this.block.write(batch);
    for (const { sequence, start, restoredFrom = -1 } of batch.rows) {
      if (restoredFrom < 0 || sequence.request.sampling.penalties === undefined) continue;
      met.penalisedHit += 1;
      this.model.countPrefix(sequence.slot, sequence.tokens.slice(0, start), sequence.request.prompt.length);
    }
    const tokens = this.model.run(this.block);
    this.attend(batch, this.block.array("inputIds"));
    this.inFlight.push({ batch, tokens });
    this.beginCopies();
    this.checkBudgets();
    return true;
  }

  /** After the step that was launched: it may read what they write. */
  private beginCopies(): void {
    for (const transfer of this.cache.tiers.takeTransfers()) {
      if (transfer.toHost) this.host[transfer.hostSlot] = HALF_WRITTEN;
      else this.model.write(transfer.slot, HALF_WRITTEN);
      this.copying.push(transfer);
    }
  }

  /** One of the copies has its source until here. */
  endCopy(which = 0, fails = false): boolean {
    if (this.copying.length === 0) return false;
    const [transfer] = this.copying.splice(which % this.copying.length, 1);
    const { slot, hostSlot, toHost } = transfer!;
    if (fails) met.failedCopy += 1;
    else if (toHost) this.host[hostSlot] = this.model.read(slot);
    else this.model.write(slot, this.host[hostSlot]!);
    met[toHost ? "copyToHost" : "copyToDevice"] += 1;
    this.cache.tiers.transferred(transfer!, fails);
    this.checkBudgets();
    return true;
  }

  commit({ fails = false } = {}): boolean {
    const step = this.inFlight.shift();
    if (step === undefined) return false;
    if (fails) this.fail(step.batch);
    else {
      for (const { sequence, token } of this.scheduler.commit(step.batch, step.tokens)) {
        this.delivered.get(sequence)!.push(token);
      }
    }
    this.checkBudgets();
    return true;
  }

  /** Runs dry: each request has the tokens that it has alone, and after a clear() nothing is left. */
  finish(): void {
    for (let step = 0; this.launch() || this.commit() || this.endCopy(); step++) assert.ok(step < 5000);
    assert.deepEqual([this.slots.numUsed, this.pages.numUsed, this.scheduler.numWaiting], [0, 0, 0]);
    for (const sequence of this.sequences) {
      const alone = generateAlone(sequence.request, this.config.maxModelLen);
      const tokens = this.delivered.get(sequence)!;
      if (sequence.finishReason === "abort") assert.deepEqual(alone.tokens.slice(0, tokens.length), tokens);
      else assert.deepEqual({ tokens, finishReason: sequence.finishReason }, alone);
    }
    this.cache.clear();
    while (this.endCopy());
    const { isEmpty, tiers } = this.cache;
    assert.deepEqual([tiers.numOnDevice, tiers.numOnHost, this.pages.numIdle, isEmpty], [0, 0, 0, true]);
  }

  private check({ rows, numPrefills }: ScheduledBatch): void {
    const { maxNumSeqs, numSnapshots, chunkSize } = this.config;
    const written = rows.flatMap(({ snapshots = [] }) => snapshots.map(({ slot }) => slot));
    assert.equal(new Set(written).size, written.length);
    assert.ok(written.every((slot) => slot >= maxNumSeqs && slot < maxNumSeqs + numSnapshots));
    for (const [i, { sequence, start, numTokens, restoredFrom = -1, snapshots = [] }] of rows.entries()) {
      for (const { position } of snapshots) {
        assert.ok(i < numPrefills && position > start && position <= start + numTokens);
        assert.equal(position % chunkSize, 0);
        assert.ok(position < sequence.tokens.length, "the last token is computed for its logits");
      }
      if (snapshots.length > 1) met.twoSnapshotsInARow += 1;
      if (this.config.deterministic) this.checkKind(rows[i]!, i < numPrefills);
      if (i < numPrefills && start % chunkSize !== 0) met.unalignedCut += 1;
      if (restoredFrom < 0) continue;
      assert.ok(i < numPrefills && start > 0 && start % chunkSize === 0 && restoredFrom >= maxNumSeqs);
      met.hit += 1;
      if (sequence.numGenerated > 0) met.hitAfterPreemption += 1;
      if (written.includes(restoredFrom)) met.hitBesideItsEviction += 1;
    }
    const owners = new Map<number, number>();
    for (const { sequence } of rows) {
      for (const page of sequence.pages.slice()) owners.set(page, (owners.get(page) ?? 0) + 1);
    }
    met.sharedPage += [...owners.values()].filter((count) => count > 1).length;
  }

  /** Prompts are prefills, cut at chunks alone; tokens that were drawn are decodes, one by one, also after a preemption. */
  private checkKind({ sequence, start, numTokens, draws }: ScheduledRow, isPrefill: boolean): void {
    const { length } = sequence.request.prompt;
    const end = start + numTokens;
    if (isPrefill) assert.ok(end <= length && (end === length || end % this.config.chunkSize === 0));
    else assert.ok(start >= length && numTokens === 1);
    if (!isPrefill && draws === 0) met.tokenComputedAgain += 1;
  }

  /** Writes the step's tokens to their pages; all before them must be there. */
  private attend({ rows }: ScheduledBatch, ids: Int32Array): void {
    if (this.config.numPages === 0) return;
    let at = 0;
    for (const { sequence, start, numTokens } of rows) {
      const place = (position: number) =>
        sequence.pages.at(Math.floor(position / PAGE_SIZE)) * PAGE_SIZE + (position % PAGE_SIZE);
      for (let position = start; position < start + numTokens; position++) this.kv[place(position)] = ids[at++]!;
      for (let position = 0; position < start; position++) {
        const token = sequence.tokens[position];
        if (token !== undefined) assert.equal(this.kv[place(position)], token);
      }
    }
  }

  private fail(batch: ScheduledBatch): void {
    met.failedSnapshot += batch.rows.filter(({ snapshots = [] }) => snapshots.length > 0).length;
    this.scheduler.fail(batch);
    assert.equal(this.cache.tiers.numOnDevice, this.inFlightSnapshots() + this.copying.length);
    for (const { sequence } of batch.rows) assert.ok(sequence.isFinished);
  }

  private inFlightSnapshots = () =>
    this.inFlight.flatMap(({ batch }) => batch.rows.flatMap(({ snapshots = [] }) => snapshots)).length;

  private checkBudgets(): void {
    const { numSnapshots, numHostSnapshots, numPages } = this.config;
    assert.ok(this.cache.tiers.numOnHost <= numHostSnapshots);
    assert.ok(this.cache.tiers.numOnDevice <= numSnapshots);
    if (this.cache.tiers.numOnDevice === numSnapshots && numSnapshots > 0) met.slotEviction += 1;
    const held = new Set(this.sequences.flatMap(({ pages }) => pages.slice()));
    assert.equal(this.pages.numUsed, held.size);
    assert.ok(this.pages.numUsed + this.pages.numIdle <= numPages);
  }
}
