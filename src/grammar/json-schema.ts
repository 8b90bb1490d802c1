import { stringifyJson } from "../json/stringify";
import { isObject } from "../json/value";
import { arrays } from "./array-rules";
import { type Budget, MAX_VALUES } from "./budget";
import { type Conjunction, typesLeft } from "./conjunction";
import { decimalOf } from "./decimal";
import { Expansion } from "./expansion";
import { call, choice, type Expression, literal, nothing, Rule } from "./expression";
import { JsonRules, memberOf } from "./json-text";
import { NumberRules } from "./number-rules";
import { objects } from "./object-rules";
import { References } from "./references";
import { isOf } from "./satisfaction";
import { badSchema, type JsonType, keywordsOf, type Located, schemasAt } from "./schema-keywords";
import { StringRules } from "./string-rules";
import type { TokenTrie } from "./token-trie";
import type { ValueReader } from "./value-reader";

/** What it takes to read a schema. */
const SCHEMA_WORK = 60;

/** Rules to compile, the first of which stands for the whole text. */
export type RuleTexts = readonly (readonly [Rule, Expression])[];

/** Rules, and why some part of them has no text. */
export interface SchemaRules {
  readonly texts: RuleTexts;
  readonly reasons: readonly string[];
}

/** @throws EngineError ERR_REQUEST, with the place in the schema, for what is malformed or unsupported. */
export function schemaRules(schema: unknown, trie: TokenTrie, budget: Budget): SchemaRules {
  return new SchemaReader(schema, trie, budget).rules();
}

class SchemaReader implements ValueReader {
  readonly json: JsonRules;
  readonly strings: StringRules;
  private readonly numbers: NumberRules;
  private readonly references: References;
  private readonly expansion: Expansion;
  private readonly texts: [Rule, Expression][] = [];
  private readonly reasons: string[] = [];
  /** Rules by the numbers of the schemas that all hold. */
  private readonly byKey = new Map<string, Rule>();
  private readonly numberOf = new Map<unknown, number>();
  private readonly referring = new Map<unknown, boolean>();
  private readonly pending: (() => void)[] = [];
  private oneWayValue: Expression | undefined;

  constructor(
    private readonly root: unknown,
    trie: TokenTrie,
    readonly budget: Budget,
  ) {
    this.json = JsonRules.of(trie);
    this.strings = new StringRules(trie, budget);
    this.numbers = new NumberRules(trie, budget, this.texts);
    this.references = new References(root);
    this.expansion = new Expansion(this.references, budget);
  }

  rules(): SchemaRules {
    const root = this.ruleOf([{ schema: this.root, path: "#" }], false);
    this.texts.push([new Rule("text"), this.json.document(call(root))]);
    for (let next = this.pending.pop(); next !== undefined; next = this.pending.pop()) next();
    return { texts: this.texts, reasons: this.reasons };
  }

  values(schemas: readonly Located[], isOneWay: boolean): Expression {
    this.budget.spend(SCHEMA_WORK);
    const simple = this.simple(schemas, isOneWay);
    if (simple !== null) return simple;
    // What combines schemas that are referred to may be within itself.
    const isCombined = schemas.length > 1 || [...keywordsOf(schemas[0]!).keys()].some((name) => combining.has(name));
    if (isCombined && schemas.some(({ schema }) => this.refers(schema))) return call(this.ruleOf(schemas, isOneWay));
    return this.expanded(schemas, isOneWay);
  }

  /** What is said by referring to others only; null where there is more to it. */
  private simple(schemas: readonly Located[], isOneWay: boolean): Expression | null {
    const [only] = schemas;
    if (schemas.length > 1) return null;
    const { schema, path } = only!;
    if (schema === false) return this.impossible(path, "false allows no value");
    const keywords = keywordsOf(only!);
    if (keywords.size === 0) return this.anyValue(isOneWay);
    if (keywords.size > 1) return null;
    if (keywords.has("$ref")) {
      return call(this.ruleOf([this.references.resolve(keywords.get("$ref"), path)], isOneWay));
    }
    if (!keywords.has("anyOf")) return null;
    return this.oneOf(schemasAt(keywords, "anyOf", path).map((option) => this.values([option], isOneWay)));
  }

  private oneOf(options: readonly Expression[]): Expression {
    const possible = options.filter((option) => option !== nothing);
    return possible.length === 0 ? nothing : choice(possible);
  }

  private ruleOf(schemas: readonly Located[], isOneWay: boolean): Rule {
    const numbers = schemas.map(({ schema }) => this.numbered(schema)).sort((a, b) => a - b);
    const key = `${isOneWay ? "=" : ""}${[...new Set(numbers)].join()}`;
    let rule = this.byKey.get(key);
    if (rule === undefined) {
      const made = new Rule(schemas[0]!.path);
      rule = made;
      this.byKey.set(key, rule);
      this.pending.push(() => {
        this.texts.push([made, this.simple(schemas, isOneWay) ?? this.expanded(schemas, isOneWay)]);
      });
    }
    return rule;
  }

  private numbered(schema: unknown): number {
    const key = isObject(schema) ? schema : stringifyJson(schema);
    const number = this.numberOf.get(key) ?? this.numberOf.size;
    this.numberOf.set(key, number);
    return number;
  }

  /** Whether there is a $ref in it. */
  private refers(schema: unknown): boolean {
    if (typeof schema !== "object" || schema === null) return false;
    let known = this.referring.get(schema);
    if (known === undefined) {
      this.budget.spend(1);
      known =
        (isObject(schema) && Object.hasOwn(schema, "$ref")) ||
        Object.values(schema).some((value) => this.refers(value));
      this.referring.set(schema, known);
    }
    return known;
  }

  private expanded(schemas: readonly Located[], isOneWay: boolean): Expression {
    const { path } = schemas[0]!;
    const ways = this.ways(schemas);
    if (ways.length === 0) return this.impossible(path, "no value satisfies all that is combined here");
    return this.oneOf(ways.map((way) => this.conjunction(way, path, isOneWay)));
  }

  ways(schemas: readonly Located[]): readonly Conjunction[] {
    return this.expansion.ways(schemas);
  }

  private conjunction(known: Conjunction, path: string, isOneWay: boolean): Expression {
    if (known.constants !== null) return this.constants(known, path);
    return this.oneOf(typesLeft(known).map((type) => this.ofType(type, known, path, isOneWay)));
  }

  private constants(known: Conjunction, path: string): Expression {
    const values = known.constants!;
    if (values.length > MAX_VALUES) {
      throw badSchema(path, `enum has ${values.length} values; at most ${MAX_VALUES} are allowed`);
    }
    const left = values.filter((value) => isOf(value, known, this));
    if (left.length === 0) return this.impossible(path, "no value of the enum or const is what is asked for besides");
    return choice(left.map((value) => literal(stringifyJson(value))));
  }

  private ofType(type: JsonType, known: Conjunction, path: string, isOneWay: boolean): Expression {
    const { excluded } = known;
    const words = (...texts: string[]) => this.oneOf(texts.filter((text) => !excluded.includes(text)).map(literal));
    switch (type) {
      case "string": {
        const { parts, min, max } = known.strings;
        const texts = excluded.filter((text) => text.startsWith('"')).map((text) => JSON.parse(text) as string);
        const all = [...parts, ...texts.map((text) => ({ kind: "text", text, negated: true }) as const)];
        const found = this.strings.strings(all, { min, max }, isOneWay);
        if (max < min) return this.impossible(path, `maxLength ${max} is less than minLength ${min}`);
        return found ?? this.impossible(path, "no string has such a pattern, format and length");
      }
      case "integer":
      case "number": {
        const values = excluded.flatMap((text) => (/^[-\d]/.test(text) ? (decimalOf(Number(text)) ?? []) : []));
        const found = this.numbers.numbers(type, { ...known.numbers, excluded: values }, isOneWay);
        return found ?? this.impossible(path, `no ${type} of at most 18 digits is within the bounds`);
      }
      case "boolean":
        return words("true", "false");
      case "null":
        return words("null");
      default:
        if (excluded.some((text) => text.startsWith(type === "object" ? "{" : "["))) {
          return this.impossible(path, `an ${type} that is not one of some values is not supported`);
        }
        return type === "object" ? objects(known, path, isOneWay, this) : arrays(known, path, isOneWay, this);
    }
  }

  anyValue(isOneWay: boolean): Expression {
    if (!isOneWay) return call(this.json.value);
    if (this.oneWayValue === undefined) {
      const rule = new Rule("value, in one way");
      this.oneWayValue = call(rule);
      const value = this.oneWayValue;
      const string = this.strings.strings([], { min: 0, max: Infinity }, true)!;
      const { numbers } = this;
      const number = numbers.numbers("number", noNumberKeywords, true)!;
      const member = memberOf(string, value, true);
      const object = this.json.objectOf(
        { members: [{ body: member, required: false }], extra: null, min: 0, max: 1 },
        true,
      );
      const array = this.json.arrayOf({ items: [], rest: value, min: 0, max: Infinity }, true);
      this.texts.push([rule, choice([string, number, object, array, ...["true", "false", "null"].map(literal)])]);
    }
    return this.oneWayValue;
  }

  impossible(path: string, reason: string): Expression {
    if (this.reasons.length < MAX_REASONS) this.reasons.push(badSchema(path, reason).message);
    return nothing;
  }

  named(name: string, expression: Expression): Expression & { readonly kind: "call" } {
    const rule = new Rule(name);
    this.texts.push([rule, expression]);
    return { kind: "call", rule, isUnique: false };
  }
}

const MAX_REASONS = 10;
const noNumberKeywords = { low: null, high: null, multiples: [], notMultiples: [], excluded: [], isFractional: false };
const combining = new Set<string | symbol>([
  ...["$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"],
  ...["dependencies", "dependentRequired", "dependentSchemas"],
]);
