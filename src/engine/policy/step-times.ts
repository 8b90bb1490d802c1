/** What steps of decodes take. */
export interface StepCosts {
  /** One of so many rows, of so many tokens each, took `ms`. */
  observe(rows: number, tokensPerRow: number, ms: number): void;
  /** Whether it is known what one of so many rows takes, of so many tokens each. */
  knows(rows: number, tokensPerRow: number): boolean;
  /** How many times as long as one of one token for each row one of `tokensPerRow` takes. */
  ratio(rows: number, tokensPerRow: number): number;
}

interface Entry {
  /** Milliseconds, smoothed, without the first step of its kind: that one also captures a graph. */
  ms: number;
  count: number;
  /** Steps that had been timed when this one was. */
  seenAt: number;
  /** Timed steps after which longer rows are tried once more: what made them long may be over. */
  patience: number;
}

/** Weights of a time that is shorter or longer than what was expected: what disturbs a step only ever makes it longer. */
const SHORTER = 1 / 4;
const LONGER = 1 / 16;
/** How many times what was expected a time counts at most. */
const MOST = 2;

/** Steps of a kind before it is known: the first, and two of which the shorter one counts. */
const TRIES = 3;

/** The first wait and the longest: each is twice the one before. */
const LEAST_PATIENCE = 32;
const MOST_PATIENCE = 256;

/** As measured on this machine, by rows (rounded up to a power of two) and tokens of each. */
export class StepTimes implements StepCosts {
  private readonly entries = new Map<string, Entry>();
  private numTimed = 0;

  observe(rows: number, tokensPerRow: number, ms: number): void {
    this.numTimed += 1;
    const key = keyOf(rows, tokensPerRow);
    let entry = this.entries.get(key);
    entry ??= { ms, count: 0, seenAt: this.numTimed, patience: LEAST_PATIENCE };
    this.entries.set(key, entry);
    if (this.isStale(entry, tokensPerRow)) {
      entry.patience = Math.min(2 * entry.patience, MOST_PATIENCE);
      entry.ms = Math.min(entry.ms, ms);
    }
    entry.seenAt = this.numTimed;
    entry.count += 1;
    if (entry.count === 2) entry.ms = ms;
    else if (entry.count === TRIES) entry.ms = Math.min(entry.ms, ms);
    else entry.ms += ms < entry.ms ? SHORTER * (ms - entry.ms) : LONGER * (Math.min(ms, MOST * entry.ms) - entry.ms);
  }

  knows(rows: number, tokensPerRow: number): boolean {
    return this.known(rows, tokensPerRow) !== undefined;
  }

  /**
   * The first length that is tried is two tokens. One that was not tried counts as the longest of those before it that were, so
   * that it is where that pays: a step may take as long for many tokens as for two.
   */
  ratio(rows: number, tokensPerRow: number): number {
    const base = this.known(rows, 1);
    for (let tokens = tokensPerRow; tokens > 1; tokens--) {
      const ms = this.known(rows, tokens);
      if (ms !== undefined) return base === undefined ? Number.POSITIVE_INFINITY : ms / base;
    }
    return tokensPerRow === 2 ? 1 : Number.POSITIVE_INFINITY;
  }

  private known(rows: number, tokensPerRow: number): number | undefined {
    const entry = this.entries.get(keyOf(rows, tokensPerRow));
    if (entry === undefined || entry.count < TRIES || this.isStale(entry, tokensPerRow)) return undefined;
    return entry.ms;
  }

  private isStale({ seenAt, patience }: Entry, tokensPerRow: number): boolean {
    return tokensPerRow > 1 && this.numTimed - seenAt > patience;
  }
}

const keyOf = (rows: number, tokensPerRow: number): string => `${Math.ceil(Math.log2(rows))} ${tokensPerRow}`;
