/** What steps of decodes take. */
export interface StepCosts {
  /** One of so many rows, of so many tokens each, took `ms`. */
  observe(rows: number, tokensPerRow: number, ms: number): void;
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
const LEAST_PATIENCE = 64;
const MOST_PATIENCE = 2048;

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

  /**
   * A length that was not tried counts as the one before it, so that it is; where that was not tried either, it waits for its
   * turn.
   */
  ratio(rows: number, tokensPerRow: number): number {
    const ms = this.known(rows, tokensPerRow);
    const before = tokensPerRow === 2 ? undefined : this.known(rows, tokensPerRow - 1);
    const base = this.known(rows, 1);
    if (base === undefined) return ms === undefined && tokensPerRow === 2 ? 1 : Number.POSITIVE_INFINITY;
    if (ms !== undefined) return ms / base;
    if (tokensPerRow === 2) return 1;
    return before === undefined ? Number.POSITIVE_INFINITY : before / base;
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
