/** Random traffic for a scheduler. */
import fc from "fast-check";
import type { EngineRequest } from "../../src/engine/policy/request";
import { greedy } from "./engine-request";
import { vocabSize } from "./recurrent-model";

export type TrafficEvent =
  | { readonly kind: "add"; readonly fields: Omit<Partial<EngineRequest>, "id"> }
  | { readonly kind: "abort"; readonly which: number }
  | { readonly kind: "step"; readonly abortDuring: number | null };

export const trafficConfigs = fc
  .record({
    maxNumSeqs: fc.integer({ min: 1, max: 5 }),
    maxNumBatchedTokens: fc.integer({ min: 1, max: 24 }),
    chunkSize: fc.integer({ min: 1, max: 8 }),
    maxModelLen: fc.integer({ min: 13, max: 40 }),
    maxQueue: fc.integer({ min: 1, max: 6 }),
    laggingRows: fc.constantFrom(0, 1, 2, 4), // 0: states never lag
  })
  .map(({ laggingRows, ...config }) => ({
    ...config,
    ...(laggingRows > 0 && { laggingRows }),
    maxNumBatchedTokens: Math.max(config.maxNumBatchedTokens, config.maxNumSeqs),
  }));

const token = fc.nat(vocabSize - 1);
const rarely = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
const rarelyPenalised = fc.oneof(
  { weight: 2, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.constantFrom(1, 1.5).map((repetition) => ({ repetition, presence: 0.5, frequency: 2 })) },
);
export const trafficEvents: fc.Arbitrary<TrafficEvent> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("add" as const),
      fields: fc.record({
        prompt: fc.array(token, { minLength: 1, maxLength: 12, size: "max" }),
        maxTokens: fc.integer({ min: 1, max: 12 }),
        stopTokenIds: fc.array(token, { maxLength: 2 }).map((ids) => new Set(ids)),
        priority: fc.integer({ min: -1, max: 1 }),
        sampling: fc.record({ seed: fc.nat(3), penalties: rarelyPenalised }).map(({ seed, penalties }) => {
          const sampling = { ...greedy, seed: BigInt(seed) };
          return penalties === null ? sampling : { ...sampling, penalties };
        }),
      }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("abort" as const), which: fc.nat(20) }) },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("step" as const), abortDuring: rarely(fc.nat(5)) }),
  },
);
