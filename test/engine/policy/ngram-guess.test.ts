import fc from "fast-check";
import { ngramGuess } from "../../../src/engine/policy/ngram-guess";
import { Sequence } from "../../../src/engine/policy/sequence";
import { makeRequest } from "../../helpers/engine-request";

const sequenceOf = (prompt: readonly number[]) => new Sequence(makeRequest({ prompt: [...prompt] }), 0, 1000);
const guessOf = (prompt: readonly number[], most = 4, promptLookupMin = 2, promptLookupMax = 4) =>
  ngramGuess({ promptLookupMin, promptLookupMax })(sequenceOf(prompt), most);

test.each<[string, number[], number[]]>([
  ["what followed the last two tokens", [1, 2, 3, 4, 5, 9, 1, 2], [3, 4, 5, 9]],
  ["the longest repetition before a newer, shorter one", [7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], [3, 8, 1, 2]],
  ["the newest of equally long ones", [1, 2, 3, 6, 1, 2, 4, 6, 5, 1, 2], [4, 6, 5, 1]],
  ["a loop goes on", [5, 6, 5, 6], [5, 6, 5, 6]],
  ["one token alone is too little", [1, 2, 3, 1], []],
  ["nothing repeats", [1, 2, 3, 4], []],
  ["a prompt of one token", [1], []],
])("%s", (_, prompt, expected) => expect(guessOf(prompt)).toEqual(expected));

test("no more than are asked for", () => expect(guessOf([1, 2, 3, 4, 5, 1, 2], 2)).toEqual([3, 4]));

test("a sequence that grows is looked up as one that was whole from the start", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { minLength: 2, maxLength: 60 }), (tokens) => {
      const guess = ngramGuess({ promptLookupMin: 2, promptLookupMax: 6 });
      const growing = sequenceOf(tokens.slice(0, 1));
      for (const token of tokens.slice(1)) {
        growing.tokens.push(token);
        guess(growing, 3);
      }
      expect(guess(growing, 3)).toEqual(guessOf(tokens, 3, 2, 6));
    }),
  );
});

/** By looking at every place. */
function longest(tokens: readonly number[], most: number): number {
  let best = 0;
  for (let end = tokens.length - 2; end >= 0; end--) {
    let same = 0;
    while (same < most && same <= end && tokens[end - same] === tokens.at(-1 - same)) same += 1;
    best = Math.max(best, same);
  }
  return best;
}

test("something is guessed exactly where enough repeats, and it stood behind as long a repetition", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(5), { minLength: 1, maxLength: 40 }), (tokens) => {
      const guesses = guessOf(tokens, 1, 2, 5);
      const same = longest(tokens, 5);
      expect(guesses.length).toBe(same >= 2 ? 1 : 0);
      if (guesses.length === 0) return;
      const tail = [...tokens.slice(-same), guesses[0]];
      const places = tokens.map((_, at) => tokens.slice(at, at + tail.length));
      expect(places).toContainEqual(tail);
    }),
  );
});
