import fc from "fast-check";
import { Sequence } from "../../../src/engine/policy/sequence";
import { greedy, makeRequest, promptOf } from "../../helpers/engine-request";

const sequenceOf = (fields: Parameters<typeof makeRequest>[0], arrival = 0, maxModelLen = 100) =>
  new Sequence(makeRequest(fields), arrival, maxModelLen);

test("starts with its prompt, no state and no slot", () => {
  const prompt = promptOf(5);
  const sequence = sequenceOf({ id: "a", prompt });
  expect(sequence).toMatchObject({ id: "a", tokens: prompt, numComputed: 0, numInFlight: 0, slot: -1 });
  expect(sequence).toMatchObject({ numToGo: 5, numGenerated: 0, isPrefill: true, isFinished: false });
  sequence.append(9);
  expect(prompt).toHaveLength(5);
  expect(sequence).toMatchObject({ numToGo: 5, length: 6, numGenerated: 1 });
});

test.each([
  { length: 1, numComputed: 0, isPrefill: true, why: "a first chunk, even of one token: the slot holds no state" },
  { length: 5, numComputed: 0, isPrefill: true, why: "a first chunk" },
  { length: 5, numComputed: 3, isPrefill: true, why: "two tokens left" },
  { length: 5, numComputed: 4, isPrefill: true, why: "the prompt's last token" },
  { length: 5, numComputed: 5, isPrefill: false, why: "nothing of the prompt left" },
])("isPrefill is $isPrefill with $numComputed of $length computed: $why", ({ length, numComputed, isPrefill }) => {
  const sequence = sequenceOf({ prompt: promptOf(length) });
  sequence.numComputed = numComputed;
  expect(sequence.isPrefill).toBe(isPrefill);
});

test.each([
  { seed: 0n, low: 0, high: 0 },
  { seed: 0x1_0000_0002n, low: 2, high: 1 },
  { seed: 0xffff_fffe_8000_0001n, low: 0x8000_0001, high: 0xffff_fffe },
  { seed: -1n, low: 0xffff_ffff, high: 0xffff_ffff },
])("splits seed $seed into unsigned words", ({ seed, low, high }) => {
  expect(sequenceOf({ sampling: { ...greedy, seed } })).toMatchObject({ seedLow: low, seedHigh: high });
});

describe("stop rules", () => {
  test("maxTokens ends it with the last token", () => {
    const sequence = sequenceOf({ prompt: promptOf(3), maxTokens: 2 });
    expect([sequence.append(7), sequence.append(7)]).toEqual([null, "length"]);
  });

  test("the end of the context does too", () => {
    const sequence = sequenceOf({ prompt: promptOf(8), maxTokens: 50 }, 0, 10);
    expect([sequence.append(7), sequence.append(7)]).toEqual([null, "length"]);
  });

  test("a stop token ends it, also in the last place", () => {
    const fields = { stopTokenIds: new Set([5]), maxTokens: 2 };
    expect(sequenceOf(fields).append(5)).toBe("stop");
    const last = sequenceOf(fields);
    expect([last.append(4), last.append(5)]).toEqual([null, "stop"]);
  });

  test("a stop token in the prompt does not", () => {
    expect(sequenceOf({ prompt: [5, 5], stopTokenIds: new Set([5]) }).append(4)).toBeNull();
  });
});

test("rank is the priority, then the arrival", () => {
  const priority = fc.integer({ min: -2, max: 2 });
  fc.assert(
    fc.property(priority, priority, fc.nat(5), fc.nat(5), (a, b, arrivalA, arrivalB) => {
      const expected = a < b || (a === b && arrivalA < arrivalB);
      expect(sequenceOf({ priority: a }, arrivalA).outranks(sequenceOf({ priority: b }, arrivalB))).toBe(expected);
    }),
  );
});
