/** The pages of one sequence, in order. */
export class PageList {
  /** Page numbers, -1 after the last; a power of two of them, so that a step's table of pages takes them in one copy. */
  words = new Int32Array(1).fill(-1);
  private count = 0;

  get length(): number {
    return this.count;
  }

  /** -1 where there is none. */
  at(index: number): number {
    return index < this.count ? this.words[index]! : -1;
  }

  push(page: number): void {
    if (this.count === this.words.length) {
      const grown = new Int32Array(2 * this.count).fill(-1, this.count);
      grown.set(this.words);
      this.words = grown;
    }
    this.words[this.count++] = page;
  }

  slice(begin = 0, end = this.count): number[] {
    return Array.from(this.words.subarray(0, this.count).subarray(begin, end));
  }

  clear(): void {
    this.words.fill(-1, 0, this.count);
    this.count = 0;
  }
}
