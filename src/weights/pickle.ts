/**
 * A reader of pickles that runs nothing: it knows the opcodes that PyTorch writes state dicts with, and builds numbers, texts, tuples,
 * lists and dicts. Names of Python objects stay names; what is made of a call of one is the caller's to say, who refuses the rest.
 */
export type PickleValue = null | boolean | number | string | Tuple | List | Dict | Global | { readonly made: unknown };

export class Tuple {
  constructor(readonly items: readonly PickleValue[]) {}
}
export class List {
  readonly items: PickleValue[] = [];
}
export class Dict {
  readonly entries = new Map<PickleValue, PickleValue>();
}
/** A Python class or function, by its name. */
export class Global {
  constructor(readonly name: string) {}
}

/** What a pickle's own words mean; each throws for what it does not know. */
export interface PickleMeaning {
  global(name: string): Global;
  call(callee: Global, args: Tuple): PickleValue;
  persistent(id: PickleValue): PickleValue;
}

const maxValues = 10_000_000;
const mark = Symbol("mark");
type Slot = PickleValue | typeof mark;

/** `fail` throws. The whole of `bytes` is one pickle. */
export function readPickle(bytes: Buffer, meaning: PickleMeaning, fail: (message: string) => never): PickleValue {
  let at = 0;
  let values = 0;
  const stack: Slot[] = [];
  const memo = new Map<number, PickleValue>();

  const take = (length: number): number => {
    if (at + length > bytes.length) fail("it ends in the middle of an opcode");
    at += length;
    return at - length;
  };
  const push = (value: Slot) => {
    values += 1;
    if (values > maxValues) fail(`it has more than ${maxValues} values`);
    stack.push(value);
  };
  const pop = (): PickleValue => {
    const value = stack.pop();
    return value === undefined || value === mark ? fail("it takes a value that is not there") : value;
  };
  const popTo = (): PickleValue[] => {
    const from = stack.lastIndexOf(mark);
    if (from < 0) return fail("it takes values back to a mark that is not there");
    const items = stack.splice(from);
    return items.slice(1) as PickleValue[];
  };
  const popTuple = (size: number) => new Tuple(Array.from({ length: size }, pop).reverse());
  const topDict = (): Dict => {
    const top = stack.at(-1);
    return top instanceof Dict ? top : fail("it puts entries into what is no dict");
  };
  const setItems = (items: readonly PickleValue[]) => {
    if (items.length % 2 !== 0) fail("it puts a key without a value into a dict");
    const { entries } = topDict();
    for (let i = 0; i < items.length; i += 2) entries.set(items[i]!, items[i + 1]!);
  };
  const append = (items: readonly PickleValue[]) => {
    const top = stack.at(-1);
    if (!(top instanceof List)) return fail("it puts items into what is no list");
    for (const item of items) top.items.push(item);
  };
  const remember = (index: number) => {
    const top = stack.at(-1);
    if (top === undefined || top === mark) return fail("it remembers a value that is not there");
    memo.set(index, top);
  };
  const recall = (index: number) =>
    push(memo.get(index) ?? (memo.has(index) ? null : fail("it recalls what it never remembered")));
  const line = (): string => {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) return fail("it ends in the middle of a name");
    const text = bytes.toString("utf8", at, end);
    at = end + 1;
    return text;
  };

  for (;;) {
    const opcode = bytes[take(1)]!;
    switch (opcode) {
      case 0x80: {
        const protocol = bytes[take(1)]!;
        if (protocol !== 2) fail(`expected pickle protocol 2, as torch.save writes by default, got ${protocol}`);
        break;
      }
      case 0x28:
        push(mark);
        break;
      case 0x2e: {
        const result = pop();
        if (stack.length > 0 || at !== bytes.length) fail("it does not end where its value does");
        return result;
      }
      case 0x4e:
        push(null);
        break;
      case 0x88:
        push(true);
        break;
      case 0x89:
        push(false);
        break;
      case 0x4b:
        push(bytes[take(1)]!);
        break;
      case 0x4d:
        push(bytes.readUInt16LE(take(2)));
        break;
      case 0x4a:
        push(bytes.readInt32LE(take(4)));
        break;
      case 0x8a:
        push(littleEndian(bytes, take(1), take, fail));
        break;
      case 0x47:
        push(bytes.readDoubleBE(take(8)));
        break;
      case 0x58: {
        const length = bytes.readUInt32LE(take(4));
        const start = take(length);
        push(bytes.toString("utf8", start, start + length));
        break;
      }
      case 0x29:
        push(new Tuple([]));
        break;
      case 0x85:
        push(popTuple(1));
        break;
      case 0x86:
        push(popTuple(2));
        break;
      case 0x87:
        push(popTuple(3));
        break;
      case 0x74:
        push(new Tuple(popTo()));
        break;
      case 0x5d:
        push(new List());
        break;
      case 0x61:
        append([pop()]);
        break;
      case 0x65:
        append(popTo());
        break;
      case 0x7d:
        push(new Dict());
        break;
      case 0x73: {
        const value = pop();
        setItems([pop(), value]);
        break;
      }
      case 0x75:
        setItems(popTo());
        break;
      case 0x71:
        remember(bytes[take(1)]!);
        break;
      case 0x72:
        remember(bytes.readUInt32LE(take(4)));
        break;
      case 0x68:
        recall(bytes[take(1)]!);
        break;
      case 0x6a:
        recall(bytes.readUInt32LE(take(4)));
        break;
      case 0x63:
        push(meaning.global(`${line()}.${line()}`));
        break;
      case 0x51:
        push(meaning.persistent(pop()));
        break;
      case 0x52: {
        const args = pop();
        const callee = pop();
        if (!(callee instanceof Global) || !(args instanceof Tuple)) return fail("it calls what is no function");
        push(meaning.call(callee, args));
        break;
      }
      // The attributes of an OrderedDict are versions of modules.
      case 0x62:
        pop();
        topDict();
        break;
      default:
        fail(`opcode 0x${opcode.toString(16).padStart(2, "0")} at byte ${at - 1} is none of a state dict's`);
    }
  }
}

/** A signed integer of so many bytes as the first one says. */
function littleEndian(
  bytes: Buffer,
  lengthAt: number,
  take: (length: number) => number,
  fail: (message: string) => never,
) {
  const length = bytes[lengthAt]!;
  if (length > 8) return fail(`it has an integer of ${length} bytes`);
  const start = take(length);
  let value = 0n;
  for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[start + i]!);
  const signed = Number(BigInt.asIntN(8 * length, value));
  return Number.isSafeInteger(signed) ? signed : fail("it has an integer above 2^53");
}
