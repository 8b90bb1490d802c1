import { padDecodes, padPrefill } from "../../../src/engine/policy/padding";
import { Sequence } from "../../../src/engine/policy/sequence";
import { batchOf, noDrafts } from "../../../src/engine/policy/step-plan";
import { StepBlock } from "../../../src/step/block";
import { tokenSlots } from "../../../src/step/fields/token-slots";
import { makeRequest } from "../../helpers/engine-request";
import { writtenBy } from "../../helpers/step-fields";

const limits = { maxRows: 8, maxTokens: 64, maxDraws: 8, maxModelLen: 0, maxKvTokens: 0, rowsAlone: true };

const rowOf = (slot: number, start: number, numTokens: number) => {
  const sequence = new Sequence(makeRequest({ prompt: [1] }), slot, 100);
  sequence.slot = slot;
  return { sequence, start, numTokens, draws: 0, draw: -1, drafts: noDrafts };
};

test.each([
  ["prefills and decodes", batchOf([rowOf(4, 0, 3), rowOf(2, 8, 2), rowOf(0, 5, 1)], 2), [4, 4, 4, 2, 2, 0]],
  ["decodes and their padding", padDecodes(batchOf([rowOf(3, 5, 1)], 0), 4), [3, -1, -1, -1]],
  ["decodes of two tokens and theirs", padDecodes(batchOf([rowOf(3, 5, 2)], 0), 2, 2), [3, 3, -1, -1]],
  ["a prefill and its padding", padPrefill(batchOf([rowOf(1, 0, 3)], 1), 5), [1, 1, 1, -1, -1]],
  ["a prefill without any", padPrefill(batchOf([rowOf(1, 0, 3)], 1), 3), [1, 1, 1]],
])("the slots of %s", (_name, batch, slots) => {
  const block = new StepBlock([tokenSlots], limits);
  block.words.fill(77);
  block.write(batch);
  expect([...writtenBy(block, tokenSlots)!.slots!]).toEqual(slots);
});
