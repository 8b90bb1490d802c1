import type { Automaton } from "./automaton";
import { type Budget, MAX_VALUES } from "./budget";
import { CountedString } from "./counted-string";
import { call, choice, type Expression, literal, Rule } from "./expression";
import { JsonRules, jsonCharacter, quoted } from "./json-text";
import { type Bound, integersBetween, isExact, numbersBetween } from "./number-range";
import { patternOf } from "./pattern";
import { badSchema, countAt, isOfType, type Keywords, listAt, typesOf } from "./schema-keywords";
import { stringFormats } from "./string-formats";
import type { TokenTrie } from "./token-trie";

/** Strings, numbers and constants of a schema. Equal ones share a rule. */
export class ScalarRules {
  private readonly json: JsonRules;
  /** Rules by a text that describes them. */
  private readonly byKey = new Map<string, Rule>();

  constructor(
    private readonly trie: TokenTrie,
    private readonly budget: Budget,
    /** Where rules to compile are added. */
    private readonly texts: [Rule, Expression][],
  ) {
    this.json = JsonRules.of(trie);
  }

  constants(keywords: Keywords, path: string): Expression {
    const beside = [...keywords.keys()].find((name) => !["enum", "const", "type"].includes(name));
    if (beside !== undefined) throw badSchema(path, `${beside} beside enum or const is not supported`);
    let values = keywords.has("enum") ? listAt(keywords, "enum", path) : [keywords.get("const")];
    if (values.length > MAX_VALUES)
      throw badSchema(path, `enum has ${values.length} values; at most ${MAX_VALUES} are allowed`);
    if (keywords.has("enum") && keywords.has("const")) {
      const only = JSON.stringify(keywords.get("const"));
      values = values.filter((value) => JSON.stringify(value) === only);
    }
    if (keywords.has("type")) {
      const types = typesOf(keywords, path);
      values = values.filter((value) => types.some((type) => isOfType(value, type)));
    }
    if (values.length === 0) throw badSchema(path, "no value of the enum or const has the type that is asked for");
    return choice(values.map((value) => literal(JSON.stringify(value))));
  }

  string(keywords: Keywords, path: string): Expression {
    const [pattern, format] = [keywords.get("pattern"), keywords.get("format")];
    const min = countAt(keywords, "minLength", path, 0);
    const max = countAt(keywords, "maxLength", path, Infinity);
    if (max < min) throw badSchema(path, `maxLength ${max} is less than minLength ${min}`);
    const counted = min > 0 || max < Infinity;
    if (pattern === undefined && format === undefined) {
      return counted ? this.countedString(min, max) : call(this.json.string);
    }
    if (counted || (pattern !== undefined && format !== undefined)) {
      throw badSchema(path, "pattern, format and lengths cannot be combined; put the length into the pattern");
    }
    const text = pattern ?? stringFormats.get(format as string);
    if (pattern === undefined && text === undefined) {
      throw badSchema(
        path,
        `format must be one of ${[...stringFormats.keys()].join(", ")}, got ${JSON.stringify(format)}`,
      );
    }
    if (typeof text !== "string") throw badSchema(path, "pattern must be a string");
    return this.sharedRule(`${pattern === undefined ? "format" : "pattern"} ${text}`, () =>
      quoted(patternOf(text, jsonCharacter, this.budget, pattern !== undefined).expression),
    );
  }

  private countedString(min: number, max: number): Expression {
    const key = `string of ${min} to ${max}`;
    let rule = this.byKey.get(key);
    if (rule === undefined) {
      rule = new Rule(key);
      this.byKey.set(key, rule);
      const plain = this.json.string.machine as Automaton;
      rule.machine = new CountedString(plain, min, max, this.trie.alphabet, this.trie.longest);
    }
    return call(rule);
  }

  number(type: "integer" | "number", keywords: Keywords, path: string): Expression {
    const low = this.bound(keywords, "minimum", "exclusiveMinimum", path);
    const high = this.bound(keywords, "maximum", "exclusiveMaximum", path);
    if (low === null && high === null) return call(this.json[type]);
    const inexact = type === "number" && [low, high].some((bound) => bound !== null && !isExact(bound));
    if (inexact) throw badSchema(path, "a bound of a number may have at most 15 digits");
    const between = type === "integer" ? integersBetween : numbersBetween;
    return this.sharedRule(`${type} ${JSON.stringify([low, high])}`, () => {
      const expression = between(low, high);
      if (expression === null) throw badSchema(path, `no ${type} of at most 18 digits is within the bounds`);
      return expression;
    });
  }

  /** The tighter one of two keywords. */
  private bound(keywords: Keywords, inclusive: string, exclusive: string, path: string): Bound | null {
    const bounds = [inclusive, exclusive].flatMap((name) => {
      const value = keywords.get(name);
      if (value === undefined) return [];
      if (typeof value !== "number") throw badSchema(path, `${name} must be a number, got ${JSON.stringify(value)}`);
      return [{ value, exclusive: name === exclusive }];
    });
    if (bounds.length < 2) return bounds[0] ?? null;
    const [a, b] = bounds as [Bound, Bound];
    const tighter = inclusive === "minimum" ? b.value >= a.value : b.value <= a.value;
    return tighter ? b : a;
  }

  /** A rule that is described by `key` and compiled from `expression`. */
  private sharedRule(key: string, expression: () => Expression): Expression {
    let rule = this.byKey.get(key);
    if (rule === undefined) {
      rule = new Rule(key);
      this.byKey.set(key, rule);
      this.texts.push([rule, expression()]);
    }
    return call(rule);
  }
}
