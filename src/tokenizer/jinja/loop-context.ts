import { equals, iterate, sizeOf } from "./operators";
import { Callable, Loop, runtimeError, Tuple, Undefined, type Value } from "./values";

/** The `loop` variable: goes through the items, and looks one ahead only where it is asked to. */
export class LoopContext extends Loop {
  private index = -1;
  private items: Iterator<Value>;
  private size: number | undefined;
  private ahead: IteratorResult<Value> | undefined;
  private current: Value | undefined;
  private before: Value | undefined;
  private lastChanged: Value | undefined;

  /** @param recurse Renders the loop over other items; null where the loop is not recursive. */
  constructor(
    items: Value,
    private readonly depth0: number,
    private readonly recurse: ((items: Value, depth0: number) => Value) | null,
  ) {
    super();
    this.items = iterate(items)[Symbol.iterator]();
    this.size = sizeOf(items);
  }

  /** The next item; done at the end. */
  next(): IteratorResult<Value> {
    const result = this.ahead ?? this.items.next();
    this.ahead = undefined;
    if (result.done !== true) {
      this.index++;
      this.before = this.current;
      this.current = result.value;
    }
    return result;
  }

  override get length(): number {
    if (this.size === undefined) {
      const rest: Value[] = [];
      for (let item = this.items.next(); item.done !== true; item = this.items.next()) rest.push(item.value);
      this.items = rest[Symbol.iterator]();
      this.size = rest.length + this.index + 1 + (this.ahead?.done === false ? 1 : 0);
    }
    return this.size;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case "index":
        return BigInt(this.index + 1);
      case "index0":
        return BigInt(this.index);
      case "revindex":
        return BigInt(this.length - this.index);
      case "revindex0":
        return BigInt(this.length - this.index - 1);
      case "first":
        return this.index === 0;
      case "last":
        return this.peek().done === true;
      case "length":
        return BigInt(this.length);
      case "depth":
        return BigInt(this.depth0 + 1);
      case "depth0":
        return BigInt(this.depth0);
      case "previtem":
        return this.index === 0 ? new Undefined("there is no previous item") : this.before!;
      case "nextitem": {
        const next = this.peek();
        return next.done === true ? new Undefined("there is no next item") : next.value;
      }
      case "cycle":
        return new Callable("method", name, (args) => {
          if (args.length === 0) throw runtimeError("no items for cycling given");
          return args[this.index % args.length]!;
        });
      case "changed":
        return new Callable("method", name, (args) => this.changed(new Tuple([...args])));
      default:
        return undefined;
    }
  }

  override call(args: readonly Value[]): Value {
    if (this.recurse === null) {
      throw runtimeError("The loop must have the 'recursive' marker to be called recursively.");
    }
    if (args.length !== 1) throw runtimeError(`loop() takes 1 positional argument but ${args.length} were given`);
    return this.recurse(args[0]!, this.depth0 + 1);
  }

  override toString(): string {
    return `<LoopContext ${this.index + 1}/${this.length}>`;
  }

  private peek(): IteratorResult<Value> {
    this.ahead ??= this.items.next();
    return this.ahead;
  }

  private changed(values: Value): boolean {
    if (this.lastChanged !== undefined && equals(this.lastChanged, values)) return false;
    this.lastChanged = values;
    return true;
  }
}
