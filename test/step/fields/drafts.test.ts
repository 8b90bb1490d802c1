/** What a step says of guesses that the device makes: where they come from, and what a head needs to go on. */
import { laggingDecodes, padDecodes } from "../../../src/engine/policy/padding";
import { Sequence } from "../../../src/engine/policy/sequence";
import { batchOf, noDrafts, ON_DEVICE, type ScheduledRow, settles } from "../../../src/engine/policy/step-plan";
import { StepBlock } from "../../../src/step/block";
import type { AnyField } from "../../../src/step/field";
import { draws, drawsOfMtp, SAMPLING_ROW_WORDS } from "../../../src/step/fields/draws";
import { heldRows } from "../../../src/step/fields/held-rows";
import { keptStates } from "../../../src/step/fields/kept-states";
import { nextIds } from "../../../src/step/fields/next-ids";
import { replays } from "../../../src/step/fields/replays";
import { tokenIds } from "../../../src/step/fields/token-ids";
import { makeRequest } from "../../helpers/engine-request";
import { writtenBy } from "../../helpers/step-fields";

const maxDraws = 16;
const limits = { maxRows: 8, maxTokens: 64, maxDraws, maxModelLen: 0, maxKvTokens: 0, rowsAlone: true };

/** The tokens of slot s are 10 s, 10 s + 1, ... */
function rowOf(slot: number, start: number, numTokens: number, drawn: Partial<ScheduledRow> = {}): ScheduledRow {
  const prompt = Array.from({ length: 9 }, (_, i) => 10 * slot + i);
  const sequence = new Sequence(makeRequest({ prompt }), slot, 100);
  sequence.slot = slot;
  sequence.lastAccepted = slot % 3;
  return { sequence, start, numTokens, draws: 0, draw: -1, drafts: noDrafts, ...drawn };
}

function written<Field extends AnyField>(field: Field, batch: ReturnType<typeof batchOf>) {
  const block = new StepBlock([field], limits);
  block.words.fill(77);
  block.write(batch);
  return writtenBy(block, field);
}

/** A piece of a prompt, its end, a decode whose token is a draw, and two decodes with guesses of each kind. */
const guessing = batchOf(
  [
    rowOf(1, 2, 3),
    rowOf(2, 7, 2, { draws: 1 }),
    rowOf(3, 8, 3, { draws: 3, drafts: [5, 6] }),
    rowOf(4, 8, 3, { draws: 3, drafts: [ON_DEVICE, ON_DEVICE] }),
    rowOf(5, 8, 3, { draws: 3, drafts: [ON_DEVICE, ON_DEVICE] }),
  ],
  2,
);

test("guesses are draws behind those of the step before, each pass after the other", () => {
  const [first, second] = [-1 - maxDraws, -1 - 2 * maxDraws];
  const ids = [12, 13, 14, 27, 28, 38, 5, 6, 48, first, second, 58, first - 1, second - 1];
  expect([...written(tokenIds, guessing)!.ids!]).toEqual(ids);
});

test("the token after each is known, or drawn by this step", () => {
  const ids = [13, 14, 15, 28, -1, -2, -3, -4, -5, -6, -7, -8, -9, -10];
  expect([...written(nextIds, guessing)!.ids!]).toEqual(ids);
});

test("a head's states of all draws are kept by slot, those of padding nowhere", () => {
  const batch = padDecodes(batchOf([rowOf(1, 8, 2, { draws: 2 }), rowOf(0, 8, 2, { draws: 2 })], 0), 4, 2);
  const { from, to } = written(keptStates(3), batch)!;
  expect([...from!]).toEqual([0, 1, 2, 3, -1, -1, -1, -1]);
  expect([...to!]).toEqual([19, 20, 16, 17, -1, -1, -1, -1]);
  expect(written(keptStates(3), batchOf([rowOf(1, 2, 3)], 1))).toBeNull();
});

test("a head goes on from the state of the last accepted draw", () => {
  const batch = padDecodes(batchOf([rowOf(1, 8, 1), rowOf(5, 8, 1), rowOf(0, 8, 1)], 0), 4);
  expect([...written(heldRows(maxDraws, 3), batch)!.index!]).toEqual([
    maxDraws + 3 + 1,
    maxDraws + 15 + 2,
    maxDraws,
    -1,
  ]);
});

test("a head draws for one place more than a model does", () => {
  const batch = batchOf([rowOf(1, 8, 1, { draws: 1 })], 0);
  const places = [draws, drawsOfMtp].map((field) => written(field, batch)!.sampling![SAMPLING_ROW_WORDS - 2]);
  expect(places).toEqual([9, 10]);
});

test("a row of one token that settles nothing lags", () => {
  const replay = { first: 3, held: 0, settles: settles.nothing };
  const lags = (row: Partial<ScheduledRow>) => written(replays, padDecodes(batchOf([rowOf(1, 8, 1, row)], 0), 2))!.lag!;
  expect(
    [lags({ replay }), lags({ replay: { ...replay, settles: settles.all } }), lags({})].map(({ length }) => length),
  ).toEqual([1, 0, 0]);
  // One that catches up with what it lacks still needs the kernel that knows of histories.
  expect(lags({ replay: { ...replay, held: 3, settles: settles.all } })).toHaveLength(1);
  expect(written(replays, laggingDecodes(2))!.lag).toHaveLength(1);
});
