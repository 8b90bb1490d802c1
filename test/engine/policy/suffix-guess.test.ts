import fc from "fast-check";
import { Sequence } from "../../../src/engine/policy/sequence";
import { suffixGuess } from "../../../src/engine/policy/suffix-guess";
import { makeRequest } from "../../helpers/engine-request";

const sequenceOf = (prompt: readonly number[]) => new Sequence(makeRequest({ prompt: [...prompt] }), 0, 10_000);
const guessOf = (prompt: readonly number[], most = 4, factor = 4, mostTokens?: number) =>
  suffixGuess({ suffixDecodingMaxSpecFactor: factor }, mostTokens)(sequenceOf(prompt), most);

test.each<[string, number[], number[]]>([
  ["what followed the last two tokens", [1, 2, 3, 4, 5, 9, 1, 2], [3, 4, 5, 9]],
  ["the longest repetition before a newer, shorter one", [7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], [3, 8, 1, 2]],
  ["the newest of equally long ones", [1, 2, 3, 6, 1, 2, 4, 6, 5, 1, 2], [4, 6, 5, 1]],
  ["a loop goes on", [5, 6, 5, 6], [5, 6, 5, 6]],
  ["one token alone is too little", [1, 2, 3, 1], []],
  ["nothing repeats", [1, 2, 3, 4], []],
])("%s", (_, prompt, expected) => expect(guessOf(prompt)).toEqual(expected));

test.each<[number, number]>([
  [0.1, 1],
  [1, 3],
  [1.4, 4],
  [9, 7],
])("an end of three tokens that stood before and a factor of %f: %i guesses", (factor, count) => {
  const passage = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
  expect(guessOf([...passage, 1, 2, 3], 7, factor)).toEqual(passage.slice(3, 3 + count));
});

test("a sequence that grows is looked up as one that was whole from the start", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { minLength: 2, maxLength: 30 }), (tokens) => {
      const guess = suffixGuess({ suffixDecodingMaxSpecFactor: 2 });
      const growing = sequenceOf(tokens.slice(0, 1));
      for (const token of tokens.slice(1)) {
        growing.tokens.push(token);
        guess(growing, 3);
      }
      expect(guess(growing, 3)).toEqual(guessOf(tokens, 3, 2));
    }),
  );
});

test("of more tokens than are kept the newer half is looked up", () => {
  const far = [1, 2, 3, 4];
  const between = Array.from({ length: 30 }, (_, i) => 100 + i);
  expect(guessOf([...far, ...between, 1, 2], 2, 4, 36)).toEqual([3, 4]);
  expect(guessOf([...far, ...between, 1, 2], 2, 4, 35)).toEqual([]);
  expect(guessOf([...far, ...between, ...far, 1, 2], 2, 4, 35)).toEqual([3, 4]);
  // Nor where it grew past that many, which are forgotten by halves.
  const guess = suffixGuess({ suffixDecodingMaxSpecFactor: 4 }, 16);
  const sequence = sequenceOf(far);
  for (const token of [...between, ...far, 7, 1, 2]) {
    sequence.tokens.push(token);
    guess(sequence, 2);
  }
  expect(guess(sequence, 2)).toEqual([3, 4]);
});
