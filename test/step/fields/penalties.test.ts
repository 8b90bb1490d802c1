import { padDecodes } from "../../../src/engine/policy/padding";
import { Sequence } from "../../../src/engine/policy/sequence";
import { batchOf, noDrafts, type ScheduledBatch, type ScheduledRow } from "../../../src/engine/policy/step-plan";
import { penalties as field } from "../../../src/step/fields/penalties";
import { greedy, makeRequest, promptOf } from "../../helpers/engine-request";

const penalties = { repetition: 1.25, presence: -0.5, frequency: 0.1 };
const on = new Int32Array(Float32Array.of(1.25, -0.5, 0.1).buffer);
const off = new Int32Array(Float32Array.of(1, 0, 0).buffer);
const stale = 77; // left by an earlier step

/** Tokens [start, start + numTokens) of a sequence of `length`, of which the first `prompt` are its prompt. */
function row(
  slot: number,
  {
    start,
    numTokens,
    prompt,
    length,
    plain = false,
  }: Record<"start" | "numTokens" | "prompt" | "length", number> & {
    plain?: boolean;
  },
): ScheduledRow {
  const sampling = plain ? greedy : { ...greedy, penalties };
  const sequence = new Sequence(makeRequest({ prompt: promptOf(prompt), sampling }), slot, 1000);
  sequence.tokens.push(...new Array<number>(length - prompt).fill(7));
  sequence.slot = slot;
  return { sequence, start, numTokens, draws: Number(start + numTokens === length), draw: -1, drafts: noDrafts };
}

const limits = { maxRows: 8, maxTokens: 64, maxDraws: 8, maxModelLen: 0, maxKvTokens: 0, rowsAlone: true };

function write(batch: ScheduledBatch) {
  const counted = new Int32Array(8 * 5).fill(stale);
  const table = new Int32Array(8 * 4).fill(stale);
  const written = field.writer({ counted, penalties: table }, limits)(batch);
  const cut = (words: Int32Array, width: number) =>
    Array.from({ length: 8 }, (_, i) => [...words.subarray(i * width, (i + 1) * width)]).filter(
      (line) => !line.every((word) => word === stale),
    );
  return { written, counted: cut(counted, 5), table: cut(table, 4) };
}

test("each row counts its own tokens: of the prompt as far as that goes, then generated ones", () => {
  const rows = [
    row(5, { start: 0, numTokens: 5, prompt: 6, length: 6 }), // first chunk of a prompt
    row(4, { start: 0, numTokens: 7, prompt: 4, length: 7 }), // preempted: all of it again
    row(3, { start: 4, numTokens: 3, prompt: 2, length: 7 }), // the rest of a preempted one
    row(2, { start: 0, numTokens: 2, prompt: 2, length: 2, plain: true }),
    row(1, { start: 6, numTokens: 1, prompt: 3, length: 7 }), // a decode
    row(0, { start: 6, numTokens: 1, prompt: 7, length: 7 }), // the last token of a prompt
  ];
  const { written, counted, table } = write(batchOf(rows, 4));
  expect(written).toEqual({ counted: 6 * 5, penalties: 5 * 4 });
  expect(counted).toEqual([
    [5, 0, 5, 5, 1],
    [4, 5, 7, 4, 1],
    [3, 12, 3, 0, 0],
    [-1, 15, 2, 2, 1],
    [1, 17, 1, 0, 0],
    [0, 18, 1, 1, 0],
  ]);
  expect(table).toEqual([4, 3, -1, 1, 0].map((slot) => [slot, ...(slot < 0 ? off : on)]));
});

test("padding has no slot", () => {
  const { counted, table } = write(
    padDecodes(batchOf([row(6, { start: 4, numTokens: 1, prompt: 4, length: 5 })], 0), 3),
  );
  expect(counted).toEqual([
    [6, 0, 1, 0, 0],
    [-1, 1, 1, 1, 1],
    [-1, 2, 1, 1, 1],
  ]);
  expect(table).toEqual([6, -1, -1].map((slot) => [slot, ...(slot < 0 ? off : on)]));
});

test("nothing is written where no row has penalties", () => {
  const plain = row(0, { start: 4, numTokens: 1, prompt: 4, length: 5, plain: true });
  expect(write(padDecodes(batchOf([plain], 0), 4))).toEqual({ written: null, counted: [], table: [] });
});
