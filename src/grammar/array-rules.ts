import type { Conjunction } from "./conjunction";
import { call, type Expression, nothing, repeat, sequence } from "./expression";
import type { Located } from "./schema-keywords";
import type { ValueReader } from "./value-reader";

/** The arrays of a conjunction. */
export function arrays(known: Conjunction, path: string, isOneWay: boolean, reader: ValueReader): Expression {
  const { items, itemCount, contains } = known;
  const { min } = itemCount;
  const named = Math.max(0, ...items.map(({ first }) => first.length));
  const rests = items.flatMap(({ rest }) => rest ?? []);
  // As with properties: a list that names its items has no others, unless something is said about them or it must.
  const isClosed = rests.some(({ schema }) => schema === false) || (rests.length === 0 && named > 0 && min <= named);
  const isUnique = known.isUnique && itemCount.max > 1;
  const value = (schemas: readonly Located[]) =>
    schemas.length === 0 ? reader.anyValue(isOneWay || isUnique) : reader.values(schemas, isOneWay || isUnique);
  const rest = isClosed ? nothing : value(rests);
  const first: Expression[] = [];
  for (let i = 0; i < named && (i < min || first[i - 1] !== nothing); i++) {
    first.push(value(items.flatMap((rules) => rules.first[i] ?? rules.rest ?? [])));
  }
  const end = first.indexOf(nothing);
  const possible = end >= 0 ? first.slice(0, end) : first;
  const hasRest = end < 0 && rest !== nothing;
  const max = hasRest ? itemCount.max : Math.min(itemCount.max, possible.length);
  if (min > max) return reader.impossible(path, `minItems is ${min}, and at most ${max} items are allowed`);
  const isPlain = !isOneWay && !isUnique && items.length === 0 && min === 0 && max === Infinity;
  if (contains.some((one) => one.min > 0)) {
    return containing(known, { rest, max, hasFirst: possible.length > 0 }, path, isOneWay, reader);
  }
  if (isPlain) return call(reader.json.array);
  const list = { items: possible, rest: hasRest ? rest : null, min, max };
  if (!isUnique) return reader.json.arrayOf(list, isOneWay);
  const unique = (item: Expression): Expression => ({ ...reader.named("item", item), isUnique: true });
  const different = { ...list, items: possible.map(unique), rest: list.rest && unique(rest) };
  // A rule of its own: what was written is remembered for each rule, and other lists may have the same items.
  return reader.named("list", reader.json.arrayOf(different, isOneWay));
}

/** So many items at least that satisfy another schema as well, among any others. */
function containing(
  { contains, items, itemCount, isUnique }: Conjunction,
  { rest, max, hasFirst }: { rest: Expression; max: number; hasFirst: boolean },
  path: string,
  isOneWay: boolean,
  reader: ValueReader,
): Expression {
  const [only] = contains;
  if (contains.length > 1 || hasFirst || isUnique || max < Infinity || itemCount.min > only!.min) {
    return reader.impossible(
      path,
      "contains beside prefixItems, uniqueItems, minItems, maxItems or contains is not supported",
    );
  }
  const item = reader.values([...items.flatMap((rules) => rules.rest ?? []), only!.item], isOneWay);
  if (item === nothing) return reader.impossible(path, "no item is what contains asks for");
  const separator = reader.json.separator(isOneWay);
  const others = rest === nothing ? nothing : rest;
  const before = repeat(sequence(others, separator), 0, Infinity);
  const more = repeat(sequence(separator, before, item), only!.min - 1);
  const after = repeat(sequence(separator, others), 0, Infinity);
  return reader.json.enclosed("[", sequence(before, item, more, after), "]", isOneWay);
}
