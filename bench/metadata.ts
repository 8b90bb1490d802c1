// How long a step's metadata takes on the host: npm run bench:metadata [-- --json]
// A Mamba-2 model's, and that of a hybrid of gated delta nets and attention, with its pages and schedules.
// 256 sequences in one step, a new random mix each time: prefills of a few to a thousand tokens, cut and continued, among
// decodes. First compared with what the definition says (test/helpers/reference-batch.ts), then timed one by one.
import assert from "node:assert/strict";
import { cpus } from "node:os";
import { join } from "node:path";
import { percentile } from "../src/bench/serve/statistics";
import { PAGE_SIZE } from "../src/engine/policy/kv-pages";
import { Sequence } from "../src/engine/policy/sequence";
import { batchOf, type ScheduledBatch, type ScheduledRow, StepPlan } from "../src/engine/policy/step-plan";
import { fieldsOf } from "../src/engine/step-launcher";
import { loadModelConfig } from "../src/models/config";
import { planModel } from "../src/models/registry";
import { StepBlock } from "../src/step/block";
import { CONV_BLOCK_SIZE } from "../src/step/fields/conv-blocks";
import { greedy, makeRequest, promptOf } from "../test/helpers/engine-request";
import { referenceBatch } from "../test/helpers/reference-batch";
import { Rng } from "../test/helpers/rng";
import { MambaBlock } from "../test/helpers/step-fields";

const SEQUENCES = 256;
const BUDGET = 8192 + SEQUENCES;
const CHUNK_SIZE = 256;
const DELTA_CHUNK_SIZE = 64;
const BATCHES = 500;
const ROUNDS = 8;
const MAX_LENGTH = 4000;
const HYBRID = "qwen3.5-35b-a3b";

/** All that the sequences can take, a page of each in turn. */
const PAGES = SEQUENCES * Math.ceil(MAX_LENGTH / PAGE_SIZE);

/** As in an engine: the same sequences step after step, at other places. */
const sequences = Array.from({ length: SEQUENCES }, (_, i) => {
  const sequence = new Sequence(makeRequest({ prompt: promptOf(MAX_LENGTH), sampling: greedy }), i, 1_000_000);
  sequence.slot = SEQUENCES - 1 - i;
  return sequence;
});

function randomBatch(seed: number, chunkSize: number): ScheduledBatch {
  const rng = new Rng(seed);
  const prefills = rng.integer(1, 32);
  const plan = new StepPlan({ maxNumBatchedTokens: BUDGET, chunkSize });
  for (const [i, sequence] of sequences.entries()) {
    const isPrefill = i < prefills;
    sequence.numComputed = isPrefill ? rng.integer(0, 2) * rng.integer(0, 1000) : rng.integer(1, MAX_LENGTH - 1);
    sequence.numToPrefill = isPrefill ? MAX_LENGTH : 0;
    const most = Math.min(Math.floor(8000 / prefills), MAX_LENGTH - sequence.numComputed);
    if (isPrefill) plan.givePrefill(sequence, rng.integer(2, most));
    else plan.giveDecode(sequence);
  }
  return plan.toBatch()!;
}

/** As it is planned in an engine, a step ahead: the decodes' tokens are what the step before draws. */
function ahead({ rows, numPrefills }: ScheduledBatch): ScheduledBatch {
  const planned = rows.map((row, i) => (i < numPrefills ? row : { ...row, draws: 1, draw: i - numPrefills }));
  return batchOf(planned, numPrefills);
}

function check(block: MambaBlock, batch: ScheduledBatch): void {
  block.write(batch);
  assert.deepEqual(block.step(), referenceBatch(batch.rows, CHUNK_SIZE, CONV_BLOCK_SIZE));
}

/** The pages that the row's sequence needs, as they come when many grow side by side. */
function holdPages({ sequence, start, numTokens }: ScheduledRow): void {
  const count = Math.ceil((start + numTokens) / PAGE_SIZE);
  sequence.pages.clear();
  for (let page = 0; page < count; page++) sequence.pages.push(page * SEQUENCES + sequence.slot);
}

/** Microseconds of each step. */
function time(block: StepBlock, batches: readonly ScheduledBatch[]): number[] {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const batch of batches) {
      for (const row of batch.rows) holdPages(row);
      const start = performance.now();
      block.write(batch);
      if (round > 0) times.push(1000 * (performance.now() - start));
    }
  }
  return times;
}

function report(model: string, batches: readonly ScheduledBatch[], times: readonly number[]): void {
  const at = (percent: number) => Math.round(10 * percentile(times, percent)) / 10;
  const result = {
    bench: "metadata",
    model,
    sequences: SEQUENCES,
    mean_tokens: Math.round(batches.reduce((sum, { numTokens }) => sum + numTokens, 0) / BATCHES),
    steps: times.length,
    p50_us: at(50),
    p99_us: at(99),
    hardware: cpus()[0]!.model,
    node: process.version,
  };
  if (process.argv.includes("--json")) console.log(JSON.stringify(result));
  else {
    const { mean_tokens, steps, p50_us, p99_us, hardware } = result;
    console.log(
      `${model}: ${SEQUENCES} mixed sequences, ${mean_tokens} tokens on average, ${steps} steps on ${hardware}`,
    );
    console.log(`p50 ${p50_us} us, p99 ${p99_us} us`);
  }
}

async function main(): Promise<void> {
  const limits = { maxRows: SEQUENCES, maxTokens: BUDGET, maxDraws: SEQUENCES };
  const batchesOf = (chunkSize: number) =>
    Array.from({ length: BATCHES }, (_, seed) => ahead(randomBatch(seed, chunkSize)));
  const block = new MambaBlock(limits, CHUNK_SIZE);
  for (let seed = 0; seed < 20; seed++) check(block, randomBatch(seed, CHUNK_SIZE));
  const batches = batchesOf(CHUNK_SIZE);
  report("mamba2", batches, time(block, batches));

  const { model } = await planModel(loadModelConfig(join(__dirname, "models", HYBRID)), "bf16", "f32");
  const room = { maxModelLen: MAX_LENGTH, maxKvTokens: PAGES * PAGE_SIZE, rowsAlone: false };
  const hybrid = batchesOf(DELTA_CHUNK_SIZE);
  report(HYBRID, hybrid, time(new StepBlock(fieldsOf(model), { ...limits, ...room }), hybrid));
}

void main();
