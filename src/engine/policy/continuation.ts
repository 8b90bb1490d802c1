/**
 * At most `most` tokens from `place` on. Where they reach the end of `tokens` they go on into themselves, as in a loop.
 */
export function continuationOf(tokens: readonly number[], place: number, most: number): number[] {
  const guesses: number[] = [];
  for (let i = place; guesses.length < most; i++) {
    guesses.push(i < tokens.length ? tokens[i]! : guesses[i - tokens.length]!);
  }
  return guesses;
}
