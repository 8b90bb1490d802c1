// How long a step's metadata takes on the host: npm run bench:metadata [-- --json]
// 256 sequences in one step, a new random mix each time: prefills of a few to a thousand tokens, cut and continued, among
// decodes. First compared with what the definition says (test/helpers/reference-batch.ts), then timed one by one.
import assert from "node:assert/strict";
import { cpus } from "node:os";
import { percentile } from "../src/bench/serve/statistics";
import { Sequence } from "../src/engine/policy/sequence";
import { type ScheduledBatch, StepPlan } from "../src/engine/policy/step-plan";
import { CONV_BLOCK_SIZE } from "../src/step/fields/conv-blocks";
import { greedy, makeRequest, promptOf } from "../test/helpers/engine-request";
import { referenceBatch } from "../test/helpers/reference-batch";
import { Rng } from "../test/helpers/rng";
import { MambaBlock } from "../test/helpers/step-fields";

const SEQUENCES = 256;
const BUDGET = 8192 + SEQUENCES;
const CHUNK_SIZE = 256;
const BATCHES = 500;
const ROUNDS = 8;
const MAX_LENGTH = 4000;

/** As in an engine: the same sequences step after step, at other places. */
const sequences = Array.from({ length: SEQUENCES }, (_, i) => {
  const sequence = new Sequence(makeRequest({ prompt: promptOf(MAX_LENGTH), sampling: greedy }), i, 1_000_000);
  sequence.slot = SEQUENCES - 1 - i;
  return sequence;
});

function randomBatch(seed: number): ScheduledBatch {
  const rng = new Rng(seed);
  const prefills = rng.integer(1, 32);
  const plan = new StepPlan(BUDGET, CHUNK_SIZE);
  for (const [i, sequence] of sequences.entries()) {
    const isPrefill = i < prefills;
    sequence.numComputed = isPrefill ? rng.integer(0, 2) * rng.integer(0, 1000) : rng.integer(1, MAX_LENGTH - 1);
    const most = Math.min(Math.floor(8000 / prefills), MAX_LENGTH - sequence.numComputed);
    plan.give(sequence, isPrefill ? rng.integer(2, most) : 1);
  }
  return plan.toBatch()!;
}

function check(block: MambaBlock, batch: ScheduledBatch): void {
  block.write(batch);
  assert.deepEqual(block.step(), referenceBatch(batch.rows, CHUNK_SIZE, CONV_BLOCK_SIZE));
}

function main(): void {
  const block = new MambaBlock({ maxRows: SEQUENCES, maxTokens: BUDGET, maxDraws: SEQUENCES }, CHUNK_SIZE);
  const batches = Array.from({ length: BATCHES }, (_, seed) => randomBatch(seed));
  for (const batch of batches.slice(0, 20)) check(block, batch);
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const batch of batches) {
      const start = performance.now();
      block.write(batch);
      if (round > 0) times.push(1000 * (performance.now() - start));
    }
  }
  const at = (percent: number) => Math.round(10 * percentile(times, percent)) / 10;
  const result = {
    bench: "metadata",
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
    const { sequences, mean_tokens, steps, p50_us, p99_us, hardware } = result;
    console.log(`${sequences} mixed sequences, ${mean_tokens} tokens on average, ${steps} steps on ${hardware}`);
    console.log(`p50 ${p50_us} us, p99 ${p99_us} us`);
  }
}

main();
