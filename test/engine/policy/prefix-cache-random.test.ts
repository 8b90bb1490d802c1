import fc from "fast-check";
import type { EngineRequest } from "../../../src/engine/policy/request";
import { leastBatchedTokens } from "../../../src/engine/policy/scheduler-config";
import { greedy } from "../../helpers/engine-request";
import { met, Traffic } from "../../helpers/prefix-traffic";
import { vocabSize } from "../../helpers/recurrent-model";

type TrafficEvent =
  | { readonly kind: "add"; readonly fields: Omit<Partial<EngineRequest>, "id"> }
  | { readonly kind: "abort"; readonly which: number }
  | { readonly kind: "launch" | "commit" | "fail" }
  | { readonly kind: "endCopy"; readonly which: number; readonly fails: boolean };

/** Prompts that begin like one of a few documents, and end in their own way. */
function eventsOf(maxPrompt: number): fc.Arbitrary<TrafficEvent> {
  const documents = [3, 5, 7].map((step) => Array.from({ length: maxPrompt }, (_, i) => (i * step) % vocabSize));
  const token = fc.nat(vocabSize - 1);
  const prompt = fc
    .record({
      document: fc.constantFrom(...documents),
      length: fc.nat(maxPrompt),
      ending: fc.array(token, { minLength: 1, maxLength: 4 }),
    })
    .map(({ document, length, ending }) => [...document.slice(0, length), ...ending]);
  const penalties = fc.constantFrom(undefined, undefined, undefined, { repetition: 1.5, presence: 0.5, frequency: 2 });
  const fields = fc
    .record({
      prompt,
      maxTokens: fc.integer({ min: 1, max: 10 }),
      priority: fc.constantFrom(0, 0, 0, -1, 1),
      cacheSalt: fc.constantFrom("", "", "", "a"),
      seed: fc.nat(3),
      penalties,
    })
    .map(({ seed, penalties, ...rest }) => ({
      ...rest,
      sampling: { ...greedy, seed: BigInt(seed), ...(penalties === undefined ? {} : { penalties }) },
    }));
  return fc.oneof(
    { weight: 25, arbitrary: fc.record({ kind: fc.constant("add" as const), fields }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("abort" as const), which: fc.nat(40) }) },
    { weight: 40, arbitrary: fc.record({ kind: fc.constantFrom("launch" as const, "commit" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("fail" as const) }) },
    {
      weight: 12,
      arbitrary: fc.record({
        ...{ kind: fc.constant("endCopy" as const), which: fc.nat(5) },
        fails: fc.constantFrom(false, false, false, false, true),
      }),
    },
  );
}

const states = fc
  .record({
    maxNumSeqs: fc.integer({ min: 1, max: 4 }),
    maxNumBatchedTokens: fc.integer({ min: 1, max: 40 }),
    chunkSize: fc.integer({ min: 1, max: 8 }),
    maxModelLen: fc.integer({ min: 13, max: 60 }),
    numSnapshots: fc.constantFrom(0, 1, 2, 3, 5, 100),
    numHostSnapshots: fc.constantFrom(0, 0, 1, 3, 100),
    deterministic: fc.boolean(),
  })
  .map((config) => ({ ...config, maxQueue: 20, numPages: 0 }));
const statesAndPages = fc
  .record({
    maxNumSeqs: fc.integer({ min: 1, max: 4 }),
    maxNumBatchedTokens: fc.integer({ min: 20, max: 400 }),
    chunkSize: fc.constantFrom(1, 16, 48, 64, 128),
    numSnapshots: fc.constantFrom(0, 1, 2, 3, 5, 100),
    numPages: fc.integer({ min: 5, max: 16 }),
    numHostSnapshots: fc.constantFrom(0, 0, 1, 3, 100),
    deterministic: fc.boolean(),
  })
  .map((config) => ({ ...config, maxQueue: 20, maxModelLen: 300 }));

test.each([
  { name: "states", configs: states, maxPrompt: 40, numRuns: 800 },
  { name: "states and pages", configs: statesAndPages, maxPrompt: 290, numRuns: 150 },
])("random traffic over $name: the tokens of a server without a cache, and nothing leaks", (row) => {
  const events = fc.array(eventsOf(row.maxPrompt), { minLength: 10, maxLength: 80, size: "max" });
  fc.assert(
    fc.property(row.configs, events, (config, list) => {
      const sized = {
        ...config,
        maxNumBatchedTokens: Math.max(config.maxNumBatchedTokens, leastBatchedTokens(config)),
      };
      const traffic = new Traffic(sized);
      for (const event of list) {
        if (event.kind === "add") traffic.add(event.fields);
        else if (event.kind === "abort") traffic.abort(event.which);
        else if (event.kind === "launch") traffic.launch();
        else if (event.kind === "endCopy") traffic.endCopy(event.which, event.fails);
        else traffic.commit({ fails: event.kind === "fail" });
      }
      traffic.finish();
    }),
    { numRuns: row.numRuns, endOnFailure: true },
  );
});

test("the traffic met every case", () => {
  for (const [name, count] of Object.entries(met)) expect({ name, often: count > 5 }).toEqual({ name, often: true });
});
