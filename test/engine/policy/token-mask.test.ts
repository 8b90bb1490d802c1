import type { EngineRequest } from "../../../src/engine/policy/request";
import { Sequence } from "../../../src/engine/policy/sequence";
import { noDrafts, type ScheduledRow } from "../../../src/engine/policy/step-plan";
import { isMasked, maskOf, maskWords } from "../../../src/engine/policy/token-mask";
import { makeRequest, promptOf } from "../../helpers/engine-request";

const vocabSize = 70;

/** The tokens that a row may draw after `output`; null = all. */
function allowed(
  fields: Partial<EngineRequest>,
  output: readonly number[] = [],
  drafts: readonly number[] = noDrafts,
): number[] | null {
  const sequence = new Sequence(makeRequest({ prompt: promptOf(3), maxTokens: 50, ...fields }), 0, 100);
  for (const token of output) sequence.append(token);
  const numTokens = sequence.tokens.length + drafts.length;
  const row: ScheduledRow = { sequence, start: 0, numTokens, draws: 1 + drafts.length, draw: -1, drafts };
  const mask = maskOf(row, maskWords(vocabSize));
  if (mask !== null) expect(isMasked(row)).toBe(true);
  if (mask === null) return null;
  return Array.from({ length: vocabSize }, (_, id) => id).filter((id) => (mask[id >>> 5]! >>> (id & 31)) & 1);
}

const all = Array.from({ length: vocabSize }, (_, id) => id);
const but = (...ids: number[]) => all.filter((id) => !ids.includes(id));

test("without a rule a draw is from all tokens", () => {
  expect(allowed({})).toBeNull();
  expect(allowed({ minTokens: 1, stopTokenIds: new Set([5]) }, [8])).toBeNull();
});

test("draws are from the allowed tokens", () => {
  expect(allowed({ allowedTokenIds: [3, 31, 32, 69] })).toEqual([3, 31, 32, 69]);
  expect(allowed({ allowedTokenIds: [3, 5], minTokens: 2, stopTokenIds: new Set([5]) })).toEqual([3]);
  expect(allowed({ allowedTokenIds: [5], minTokens: 2, stopTokenIds: new Set([5]) })).toEqual([5]);
});

test("guesses that fill a row up do not make an output longer", () => {
  expect(allowed({ minTokens: 2, stopTokenIds: new Set([5]) }, [8], [0, 0, 0])).toEqual(but(5));
});

test("the last token of a bad word is left out after the others, and only then", () => {
  const badTokens = [[7], [1, 2, 33], [1, 2, 1, 4]];
  expect(allowed({ badTokens })).toEqual(but(7));
  expect(allowed({ badTokens }, [1])).toEqual(but(7));
  expect(allowed({ badTokens }, [9, 1, 2])).toEqual(but(7, 33));
  expect(allowed({ badTokens }, [1, 2, 9])).toEqual(but(7));
  expect(allowed({ badTokens }, [1, 2, 1])).toEqual(but(7, 4));
  expect(allowed({ badTokens: [[40], [41]], minTokens: 5, stopTokenIds: new Set([5]) })).toEqual(but(5, 40, 41));
});

test("tokens of the prompt are no part of a bad word", () => {
  const [, second, third] = promptOf(3);
  expect(allowed({ badTokens: [[second!, third!, 9]] })).toBeNull();
  expect(allowed({ badTokens: [[second!, third!, 9]] }, [second!, third!])).toEqual(but(9));
});

test("a step waits for the token that a bad word of several goes by, and not for others", () => {
  const waits = (badTokens: number[][]) => {
    const sequence = new Sequence(makeRequest({ prompt: promptOf(3), maxTokens: 50, badTokens }), 0, 100);
    sequence.numPending = 1;
    return sequence.waitsForToken;
  };
  expect([waits([[7]]), waits([[7], [1, 2]])]).toEqual([false, true]);
});
