/**
 * What a text has been, where later parts of it must be different: the unique items of a list, or the names of an object.
 * Never changed. A `Seen` belongs to a rule that calls others for such parts; a `Part` is one of them while it is written.
 * Equal parts have one text, so texts are compared. Parts may hold lists of their own: `outer` is what a list is part of.
 */
export type Memory = Seen | Part;

let created = 0;

/** The parts of a list that are complete, as texts of a character for each byte. */
export class Seen {
  readonly id = ++created;
  private begun: Part | undefined;
  private passed: Part | undefined;
  private different: Part | undefined;
  private rough: Seen | undefined;

  constructor(
    readonly texts: readonly string[],
    readonly outer: Part | null,
    /** Parts that are complete and of which nothing more is known. */
    readonly unknown = 0,
  ) {}

  get size(): number {
    return this.texts.length + this.unknown;
  }

  after(byte: number): Seen {
    const outer = this.outer?.after(byte) ?? null;
    return outer === this.outer ? this : new Seen(this.texts, outer, this.unknown);
  }

  /** A part that begins; with `isUnique` false, something between the parts, whose text is of no interest. */
  begin(isUnique: boolean): Part {
    if (isUnique) {
      this.begun ??= new Part(this, this.texts, 0, "written");
      return this.begun;
    }
    this.passed ??= new Part(this, [], 0, "passed");
    return this.passed;
  }

  /** A part that is equal to none of them any more. */
  get unlike(): Part {
    this.different ??= new Part(this, [], 0, "rough");
    return this.different;
  }

  /** The same without the texts that are still being written. */
  get coarse(): Seen {
    const outer = this.outer?.coarse ?? null;
    this.rough ??= outer === this.outer ? this : new Seen(this.texts, outer, this.unknown);
    return this.rough;
  }

  /** Whether more bytes leave it as it is. */
  get isStill(): boolean {
    return this.outer === null || this.outer.isStill;
  }
}

/** `written`: its text is kept. `rough`: only how far it is equal to others. `passed`: not one that must be different. */
type Kind = "written" | "rough" | "passed";

export class Part {
  readonly id = ++created;
  private readonly next = new Map<number, Part>();
  private rough: Part | undefined;
  private ended: WeakRef<Seen> | undefined;

  constructor(
    readonly list: Seen,
    /** Those of the list that begin with this text. */
    private readonly equal: readonly string[],
    /** Bytes so far. */
    private readonly length: number,
    private readonly kind: Kind,
    private readonly before: Part | null = null,
    private readonly byte = 0,
  ) {}

  after(byte: number): Part {
    let next = this.next.get(byte);
    if (next === undefined) {
      next = this.extended(byte);
      this.next.set(byte, next);
    }
    return next;
  }

  private extended(byte: number): Part {
    const list = this.list.after(byte);
    const equal = this.equal.filter((text) => text.charCodeAt(this.length) === byte);
    if (this.kind === "written") return new Part(list, equal, this.length + 1, "written", this, byte);
    if (equal.length > 0) return new Part(list, equal, this.length + 1, this.kind);
    if (this.equal.length === 0 && list === this.list) return this;
    return new Part(list, [], 0, this.kind);
  }

  /** Not a part of its list, but something between parts. */
  get isBetween(): boolean {
    return this.kind === "passed";
  }

  /** How many complete ones it may still become equal to: it needs more ways to go on than that. */
  get rivals(): number {
    return this.kind === "passed" ? 0 : this.equal.length + this.list.unknown;
  }

  /** Whether it is different from all before if it ends here. */
  get mayEnd(): boolean {
    if (this.kind === "passed") return true;
    return this.list.unknown === 0 && !this.equal.some((text) => text.length === this.length);
  }

  /** The list with this part. */
  end(): Seen {
    const { texts, outer, unknown } = this.list;
    if (this.kind === "passed") return this.list;
    let ended = this.ended?.deref();
    if (ended === undefined) {
      ended =
        this.kind === "rough" ? new Seen(texts, outer, unknown + 1) : new Seen([...texts, this.text], outer, unknown);
      this.ended = new WeakRef(ended);
    }
    return ended;
  }

  private get text(): string {
    const bytes: number[] = [];
    for (let part: Part = this; part.before !== null; part = part.before) bytes.push(part.byte);
    return Buffer.from(bytes.reverse()).toString("latin1");
  }

  get coarse(): Part {
    if (this.rough === undefined) {
      const list = this.list.coarse;
      if (this.kind !== "written")
        this.rough = list === this.list ? this : new Part(list, this.equal, this.length, this.kind);
      else this.rough = this.equal.length === 0 ? list.unlike : new Part(list, this.equal, this.length, "rough");
    }
    return this.rough;
  }

  get isStill(): boolean {
    return this.kind !== "written" && this.equal.length === 0 && this.list.isStill;
  }
}
