import { prefillSizes } from "../../../src/engine/policy/graph-sizes";
import { Sequence } from "../../../src/engine/policy/sequence";
import { StepGraphs } from "../../../src/engine/policy/step-graphs";
import { batchOf, noDrafts, type ScheduledRow } from "../../../src/engine/policy/step-plan";
import { makeRequest, promptOf } from "../../helpers/engine-request";

const graphs = new StepGraphs([1, 2, 4], [16, 32]);

function row(start: number, numTokens: number, draws = 1): ScheduledRow {
  const sequence = new Sequence(makeRequest({ prompt: promptOf(start + numTokens) }), 0, 1000);
  sequence.slot = 0;
  return { sequence, start, numTokens, draws, draw: -1, drafts: noDrafts };
}

test("decodes get the next size", () => {
  const { batch, captured } = graphs.fit(batchOf([row(4, 1), row(5, 1), row(6, 1)], 0));
  expect([captured, batch.rows.length, batch.numTokens, batch.numDraws]).toEqual([true, 4, 4, 4]);
});

test.each([
  [1, 16],
  [15, 16],
  [16, 16],
  [17, 32],
  [32, 32],
])("a prompt of %d tokens runs as one of %d, the rest in a row without a slot", (numTokens, size) => {
  const { batch, captured } = graphs.fit(batchOf([row(0, numTokens)], 1));
  expect(captured).toBe(true);
  expect(batch).toMatchObject({ numPrefills: 2, numTokens: size, numPrefillTokens: size, numDraws: 1 });
  expect(batch.rows.map((each) => [each.numTokens, each.draws, each.sequence.slot])).toEqual([
    [numTokens, 1, 0],
    [size - numTokens, 0, -1],
  ]);
});

test.each([
  ["a long prompt", [row(0, 33)], 1],
  ["a piece of a prompt that draws nothing", [row(0, 16, 0)], 1],
  ["two prompts", [row(0, 4), row(0, 4)], 2],
  ["a prompt beside a decode", [row(0, 4), row(4, 1)], 1],
  ["decodes of different lengths", [{ ...row(4, 1), numTokens: 2, draws: 2, drafts: [1] }, row(4, 1)], 0],
] as const)("%s runs as it is", (_, rows, numPrefills) => {
  const batch = batchOf(rows, numPrefills);
  expect(graphs.fit(batch)).toEqual({ batch, captured: false });
});

test("sizes of prefills end where a step ends", () => {
  expect([prefillSizes(1000), prefillSizes(100), prefillSizes(10)]).toEqual([[16, 32, 64, 128, 256], [16, 32, 64], []]);
});
