import { padPrefill } from "../../../src/engine/policy/padding";
import { Sequence } from "../../../src/engine/policy/sequence";
import { batchOf, noDrafts, type ScheduledRow } from "../../../src/engine/policy/step-plan";
import { StepBlock } from "../../../src/step/block";
import { positions } from "../../../src/step/fields/positions";
import { restores } from "../../../src/step/fields/restores";
import { makeRequest } from "../../helpers/engine-request";
import { writtenBy } from "../../helpers/step-fields";

const limits = { maxRows: 8, maxTokens: 64, maxDraws: 8, maxModelLen: 0, maxKvTokens: 0, rowsAlone: true };

function rowOf(slot: number, start: number, restoredFrom?: number): ScheduledRow {
  const sequence = new Sequence(makeRequest({ prompt: [1] }), slot, 100);
  sequence.slot = slot;
  const row = { sequence, start, numTokens: 3, draws: 0, draw: -1, drafts: noDrafts };
  return restoredFrom === undefined ? row : { ...row, restoredFrom };
}

function blockOf(...rows: readonly ScheduledRow[]): StepBlock {
  const block = new StepBlock([positions, restores], limits);
  block.words.fill(77);
  block.write(padPrefill(batchOf(rows, rows.length), 16));
  return block;
}

test("rows that go on from a snapshot are listed with their sequence's slot", () => {
  const { from, to } = writtenBy(blockOf(rowOf(4, 8, 9), rowOf(2, 0), rowOf(1, 16, 7), rowOf(0, 8, -1)), restores)!;
  expect([[...from!], [...to!]]).toEqual([
    [9, 7],
    [4, 1],
  ]);
});

test("where none does there is nothing to copy", () => {
  expect(writtenBy(blockOf(rowOf(4, 8), rowOf(2, 0, -1)), restores)).toBeNull();
});

test("the shape of a step is the same with and without them: no launch of its graph depends on them", () => {
  expect(blockOf(rowOf(4, 8, 9)).shape()).toBe(blockOf(rowOf(4, 8)).shape());
});
