import assert from "node:assert/strict";
import { openDevices } from "../../src/engine/open-device";
import type { EngineConfig } from "../../src/engine/policy/config";
import { prepareRunner } from "../../src/engine/prepare-runner";
import { loadRanks } from "../../src/llm/load-ranks";
import { loadModelConfig } from "../../src/models/config";
import type { DeviceKind } from "../../src/tensor/device";
import { alone, idsAndLogprobs, requestsOf, serve } from "./random-serving";
import { Rng } from "./rng";

/** How often the random traffic met what may change no bit. */
export interface Met {
  /** Requests that were sent together, in engines of random sizes. */
  batches: number;
  /** Answers that were compared with the same request's alone. */
  answers: number;
  cachedTokens: number;
  preemptions: number;
  steps: number;
}

export interface BatchesOptions {
  readonly device: DeviceKind;
  readonly dtype: "float32" | "bfloat16";
  readonly loadFormat?: "auto" | "dummy";
  readonly batches: number;
  readonly seed: number;
  readonly tensorParallelSize?: number;
}

const MAX_SEQS = 6;
const MOST_TOKENS = 24; // of an answer
const MOST_SNAPSHOTS = 16;

/**
 * Sends random batches of requests to engines of random sizes in the deterministic mode: sequences at once, tokens of a step,
 * snapshots, pages, overlap. Throws AssertionError where an answer has other tokens or log probabilities than the same request
 * alone, without a prefix cache.
 */
export async function checkBatches(dir: string, { batches, seed, ...options }: BatchesOptions): Promise<Met> {
  const met: Met = { batches, answers: 0, cachedTokens: 0, preemptions: 0, steps: 0 };
  const modelConfig = loadModelConfig(dir);
  const devices = openDevices({ ...options, threads: 2, deterministic: true });
  try {
    const { placed } = await loadRanks(dir, modelConfig, devices, { ...options, deterministic: true });
    const sizes = { maxNumSeqs: MAX_SEQS, maxNumBatchedTokens: 1024, maxModelLen: 1024, prefixCacheHostMemory: 0.05 };
    const prepared = await prepareRunner(placed, modelConfig, { ...sizes, deterministic: true });
    const plain = { ...prepared.config, numSnapshots: 0 };
    const rng = new Rng(seed);
    for (let batch = 0; batch < batches; batch++) {
      const config = randomConfig(prepared.config, rng);
      const requests = requestsOf(modelConfig.vocabSize, rng, rng.integer(4, 12), MOST_TOKENS);
      const { answers, stats } = await serve(prepared, config, requests, rng, 8);
      met.steps += stats.steps;
      met.cachedTokens += stats.prefixCacheHits;
      for (const request of requests) {
        const answer = answers.get(request.id)!;
        if (answer === null) continue;
        met.answers += 1;
        met.preemptions += answer.recomputedFrom.length;
        const wanted = await alone(prepared, plain, request);
        const where = `batch ${batch} of seed ${seed}, request ${request.id}`;
        assert.deepEqual(idsAndLogprobs(answer.tokens), idsAndLogprobs(wanted), where);
      }
    }
  } finally {
    for (const device of devices) device.close();
  }
  return met;
}

/** Within what the runner has memory for. */
function randomConfig(prepared: EngineConfig, rng: Rng): EngineConfig {
  const maxNumSeqs = rng.integer(1, MAX_SEQS);
  const leastPages = Math.ceil(prepared.maxModelLen / 64);
  return {
    ...prepared,
    maxNumSeqs,
    maxNumBatchedTokens: rng.integer(maxNumSeqs + prepared.chunkSize, prepared.maxNumBatchedTokens),
    numSnapshots: [0, 1, 3, MOST_SNAPSHOTS][rng.integer(0, 3)]!,
    numHostSnapshots: [0, prepared.numHostSnapshots][rng.integer(0, 1)]!,
    numPages: prepared.numPages === 0 ? 0 : rng.integer(leastPages, Math.min(prepared.numPages, 6 * leastPages)),
    overlap: rng.next() < 0.5,
  };
}
