/** Places of a growing list where its last few tokens stood before: chains of equal hashes, as in LZ77. */
export class NgramIndex {
  /** The last place that a hash ends at, and for each place the one before of its hash; -1 = none. */
  private readonly last = new Map<number, number>();
  private readonly before: number[] = [];

  /** `least` and `most`: tokens that have to be, and need at most to be, the same. */
  constructor(
    private readonly least: number,
    private readonly most: number,
  ) {}

  /** Places of the hash that are looked at, the newest first. */
  private static readonly CANDIDATES = 16;

  /**
   * The place of the token after the longest run that equals the end of `tokens`, the newest of equally long ones; -1 where
   * fewer than `least` are the same. `tokens` only ever grows between calls.
   */
  find(tokens: readonly number[]): number {
    for (let end = this.before.length; end < tokens.length - 1; end++) this.add(tokens, end);
    const end = tokens.length - 1;
    if (end + 1 <= this.least) return -1;
    let [best, length] = [-1, this.least - 1];
    let candidate = this.last.get(this.hash(tokens, end)) ?? -1;
    for (let left = NgramIndex.CANDIDATES; candidate >= 0 && left > 0 && length < this.most; left--) {
      const same = this.commonLength(tokens, candidate, end);
      if (same > length) [best, length] = [candidate, same];
      candidate = this.before[candidate]!;
    }
    return best < 0 ? -1 : best + 1;
  }

  private add(tokens: readonly number[], end: number): void {
    if (end + 1 < this.least) {
      this.before.push(-1);
      return;
    }
    const hash = this.hash(tokens, end);
    this.before.push(this.last.get(hash) ?? -1);
    this.last.set(hash, end);
  }

  /** A hash of the last `least` tokens up to `end`. */
  private hash(tokens: readonly number[], end: number): number {
    let hash = 0x811c9dc5;
    for (let i = 0; i < this.least; i++) hash = Math.imul(hash ^ tokens[end - i]!, 0x01000193);
    return hash;
  }

  /** How many tokens up to `a` and up to `b` are the same, `most` at most. */
  private commonLength(tokens: readonly number[], a: number, b: number): number {
    let length = 0;
    while (length < this.most && length <= a && tokens[a - length] === tokens[b - length]) length += 1;
    return length;
  }
}
