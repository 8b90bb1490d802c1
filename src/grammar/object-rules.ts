import type { Automaton } from "./automaton";
import type { Conjunction } from "./conjunction";
import { automaton, call, choice, type Expression, literal, type Members, nothing } from "./expression";
import { memberOf, quoted } from "./json-text";
import { acceptsNothing, product } from "./product";
import { keyOtherThan, MAX_NAME } from "./property-names";
import { satisfies, schemasOf } from "./satisfaction";
import type { Located } from "./schema-keywords";
import { anyLength } from "./string-rules";
import { automatonOf } from "./subsets";
import type { ValueReader } from "./value-reader";

/** What it takes to read a property. */
const NAME_WORK = 20;

/** Names of properties that are not listed, and what is said about these properties. */
interface OtherNames {
  /** null = any name that is not listed. */
  readonly names: Automaton | null;
  readonly schemas: readonly Located[];
}

/** The objects of a conjunction. */
export function objects(known: Conjunction, path: string, isOneWay: boolean, reader: ValueReader): Expression {
  const { required, propertyCount: count } = known;
  const finite = namesAskedFor(known, reader);
  const names = [...new Set([...known.properties.flatMap(({ named }) => [...named.keys()]), ...required])];
  const saysNames = names.length > 0;
  for (const name of finite ?? []) if (!names.includes(name)) names.push(name);
  const members: Members["members"][number][] = [];
  for (const name of names) {
    reader.budget.spend(NAME_WORK * (1 + known.properties.length));
    if (name.length > MAX_NAME) {
      return reader.impossible(path, `a property's name may have at most ${MAX_NAME} characters`);
    }
    const schemas = schemasOf(name, known, reader);
    const isForbidden =
      schemas?.some(({ schema }) => schema === false) === true || !satisfies(name, known.propertyNames, reader);
    if (isForbidden && required.has(name)) {
      const by = satisfies(name, known.propertyNames, reader) ? "additionalProperties" : "propertyNames";
      return reader.impossible(path, `required names ${JSON.stringify(name)}, which ${by} forbids`);
    }
    if (isForbidden) continue;
    const value = schemas === null ? reader.anyValue(isOneWay) : reader.values(schemas, isOneWay);
    // An optional property without a value is never written.
    if (value === nothing && !required.has(name)) continue;
    members.push({ body: memberOf(literal(JSON.stringify(name)), value, isOneWay), required: required.has(name) });
  }
  // Without a word about other properties, those of an object that names some are all it has, unless it must have more.
  const isOpen = !saysNames || count.min > members.length;
  const others = finite === null ? otherNames(names, known, isOpen, reader) : [];
  const isPlain =
    members.length === 0 && others.length === 1 && others[0]!.names === null && others[0]!.schemas.length === 0;
  if (isPlain && count.min === 0 && count.max === Infinity && !isOneWay) return call(reader.json.object);
  // Two of the same name would be one property.
  const isCounted = count.min > Math.max(1, required.size);
  const extra = others.flatMap(({ names: allowed, schemas }) => {
    const value = schemas.length === 0 ? reader.anyValue(isOneWay) : reader.values(schemas, isOneWay);
    if (value === nothing) return [];
    const key = allowed === null ? quoted(keyOtherThan(names, reader.budget)) : automaton(allowed);
    // With a count, it is written once for each number of properties.
    const isRepeated = count.min > 0 || count.max < Infinity;
    const named = isRepeated ? { ...reader.named("key", key), isUnique: isCounted } : key;
    return [memberOf(named, value, isOneWay)];
  });
  if (members.length + (extra.length === 0 ? 0 : isOneWay ? 1 : Infinity) < count.min) {
    return reader.impossible(path, `minProperties is ${count.min}, and there can be no more than ${members.length}`);
  }
  // Where equal objects are to have one text, several others could come in any order.
  if (isOneWay && extra.length > 0) members.push({ body: choice(extra), required: false });
  const object = reader.json.objectOf(
    { members, extra: extra.length === 0 || isOneWay ? null : choice(extra), ...count },
    isOneWay,
  );
  // A rule of its own, as names are remembered for each rule, and objects within may have the same names.
  return isCounted && extra.length > 0 ? reader.named("object", object) : object;
}

/** The names that propertyNames lists; null where it does not. */
function namesAskedFor({ propertyNames }: Conjunction, reader: ValueReader): readonly string[] | null {
  if (propertyNames.length === 0) return null;
  const ways = reader.ways(propertyNames);
  if (ways.some(({ constants }) => constants === null)) return null;
  return ways.flatMap(({ constants }) => constants!).filter((name) => typeof name === "string");
}

/** The other names a property may have, by what is said about it. */
function otherNames(
  listed: readonly string[],
  known: Conjunction,
  isOpen: boolean,
  reader: ValueReader,
): readonly OtherNames[] {
  const { strings, budget } = reader;
  const sources = [...new Set(known.properties.flatMap(({ patterns }) => patterns.map(({ source }) => source)))];
  let classes: { names: Automaton | null; matched: ReadonlySet<string> }[] = [{ names: null, matched: new Set() }];
  if (sources.length > 0 || known.propertyNames.length > 0) {
    const ways = known.propertyNames.length === 0 ? [null] : reader.ways(known.propertyNames);
    classes = ways.flatMap((way) => {
      if (way?.types?.includes("string") === false) return [];
      const names = strings.automaton(way?.strings.parts ?? [], way?.strings ?? anyLength);
      return names === null ? [] : [{ names: withoutNames(names, listed, reader), matched: new Set<string>() }];
    });
  }
  for (const source of sources) {
    const matching = strings.automaton([{ kind: "pattern", text: source, negated: false }], anyLength);
    if (matching === null) continue;
    classes = classes.flatMap(({ names, matched }) => [
      { names: product(names!, matching, budget).automaton, matched: new Set([...matched, source]) },
      { names: product(names!, matching, budget, true).automaton, matched },
    ]);
    classes = classes.filter(({ names }) => !acceptsNothing(names!));
  }
  return classes.flatMap(({ names, matched }) => {
    const found = known.properties.flatMap(({ patterns, additional }) => {
      const own = patterns.filter(({ source }) => matched.has(source)).map(({ value }) => value);
      return own.length === 0 && additional !== null ? [additional] : own;
    });
    const schemas = found.length > 0 ? found : known.unevaluated;
    const isAllowed = schemas.length > 0 || (isOpen && sources.length === 0);
    return isAllowed && !schemas.some(({ schema }) => schema === false) ? [{ names, schemas }] : [];
  });
}

function withoutNames(names: Automaton, listed: readonly string[], { budget }: ValueReader): Automaton {
  if (listed.length === 0) return names;
  const texts = choice(listed.map((name) => literal(JSON.stringify(name))));
  return product(names, automatonOf(texts, budget), budget, true).automaton;
}
