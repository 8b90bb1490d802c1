/** Watches a stream of text for strings that end it, and holds back what may turn out to be the beginning of one. */
export class StopStrings {
  private held = "";

  /**
   * @param stops non-empty
   * @param isIncluded whether the one that ends the text is given out
   */
  constructor(
    private readonly stops: readonly string[],
    private readonly isIncluded = false,
  ) {}

  /** The text that is safe to give out; `stopped` when a stop string is complete, with the text up to it. */
  push(text: string): { text: string; stopped: boolean } {
    if (this.stops.length === 0) return { text, stopped: false };
    const all = this.held + text;
    let first = all.length;
    let end = all.length;
    for (const stop of this.stops) {
      const at = all.indexOf(stop);
      // The shortest of those that begin at one place was complete first.
      if (at < 0 || at > first || (at === first && at + stop.length > end)) continue;
      first = at;
      end = at + stop.length;
    }
    if (first < all.length) {
      this.held = "";
      return { text: all.slice(0, this.isIncluded ? end : first), stopped: true };
    }
    const keep = Math.max(...this.stops.map((stop) => overlap(all, stop)));
    this.held = all.slice(all.length - keep);
    return { text: all.slice(0, all.length - keep), stopped: false };
  }

  /** What was held back when the stream ends without a stop string. */
  flush(): string {
    const text = this.held;
    this.held = "";
    return text;
  }
}

/** Length of the longest end of `text` that is a proper beginning of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (stop.startsWith(text.slice(text.length - length))) return length;
  }
  return 0;
}
