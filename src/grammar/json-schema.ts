import type { Budget } from "./budget";
import { call, choice, type Expression, literal, Rule } from "./expression";
import { JsonRules, memberOf, quoted } from "./json-text";
import { keyOtherThan, MAX_NAME } from "./property-names";
import { ScalarRules } from "./scalar-rules";
import {
  badSchema,
  countAt,
  isObject,
  type JsonType,
  type Keywords,
  keywordsOf,
  listAt,
  merged,
  typesOf,
  without,
} from "./schema-keywords";
import type { TokenTrie } from "./token-trie";

/** How often schemas may be combined within each other before it must be a loop. */
const MAX_COMBINED = 32;

/** What it takes to read the keywords of a schema, and the name of a property. */
const SCHEMA_WORK = 60;
const NAME_WORK = 20;

/** Rules to compile, the first of which stands for the whole text. */
export type RuleTexts = readonly (readonly [Rule, Expression])[];

/** @throws EngineError ERR_REQUEST, with the place in the schema, for what is malformed, unsupported or contradictory. */
export function schemaRules(schema: unknown, trie: TokenTrie, budget: Budget): RuleTexts {
  return new SchemaReader(schema, trie, budget).rules();
}

class SchemaReader {
  private readonly json: JsonRules;
  private readonly texts: [Rule, Expression][] = [];
  private readonly scalars: ScalarRules;
  /** Rules by the schema that a $ref points to. */
  private readonly byTarget = new Map<unknown, Rule>();
  private readonly pending: { rule: Rule; schema: unknown; path: string }[] = [];

  constructor(
    private readonly root: unknown,
    trie: TokenTrie,
    private readonly budget: Budget,
  ) {
    this.json = JsonRules.of(trie);
    this.scalars = new ScalarRules(trie, budget, this.texts);
  }

  rules(): RuleTexts {
    this.texts.push([new Rule("text"), this.json.document(call(this.ruleOf(this.root, "#")))]);
    for (let next = this.pending.pop(); next !== undefined; next = this.pending.pop()) {
      this.texts.push([next.rule, this.schema(next.schema, next.path)]);
    }
    return this.texts;
  }

  private ruleOf(schema: unknown, path: string): Rule {
    let rule = this.byTarget.get(schema);
    if (rule === undefined) {
      rule = new Rule(path);
      this.byTarget.set(schema, rule);
      this.pending.push({ rule, schema, path });
    }
    return rule;
  }

  private schema(schema: unknown, path: string): Expression {
    return this.values(keywordsOf(schema, path), path, 0);
  }

  private values(keywords: Keywords, path: string, combined: number): Expression {
    this.budget.spend(SCHEMA_WORK);
    if (combined > MAX_COMBINED) throw badSchema(path, "the schema is combined with itself without end");
    if (keywords.size === 0) return call(this.json.value);
    const nullable = keywords.get("nullable");
    if (nullable !== undefined) {
      if (typeof nullable !== "boolean") throw badSchema(path, "nullable must be true or false");
      const rest = without(keywords, "nullable");
      const value = this.values(rest, path, combined);
      return nullable && rest.size > 0 ? choice([value, literal("null")]) : value;
    }
    if (keywords.has("allOf")) {
      const all = listAt(keywords, "allOf", path).map((part, i) => this.inlined(part, `${path}/allOf/${i}`, combined));
      const both = all.reduce<Keywords>((a, b) => merged(a, b, path, this.budget), without(keywords, "allOf"));
      return this.values(both, path, combined + 1);
    }
    if (keywords.has("$ref")) {
      const { target, pointer } = this.resolve(keywords.get("$ref"), path);
      if (keywords.size === 1) return call(this.ruleOf(target, pointer));
      const own = without(keywords, "$ref");
      return this.values(merged(own, this.inlined(target, pointer, combined), path, this.budget), path, combined + 1);
    }
    const union = ["anyOf", "oneOf"].find((name) => keywords.has(name));
    if (union !== undefined) {
      const own = without(keywords, union);
      const options = listAt(keywords, union, path).map((option, i) => {
        const at = `${path}/${union}/${i}`;
        if (own.size === 0) return this.schema(option, at);
        return this.values(merged(own, this.inlined(option, at, combined), at, this.budget), at, combined + 1);
      });
      return choice(options);
    }
    if (keywords.has("enum") || keywords.has("const")) return this.scalars.constants(keywords, path);
    return choice(typesOf(keywords, path).map((type) => this.ofType(type, keywords, path)));
  }

  /** Keywords of a schema that is combined with others, its references replaced by what they point to. */
  private inlined(schema: unknown, path: string, combined: number): Keywords {
    this.budget.spend(SCHEMA_WORK);
    if (combined > MAX_COMBINED) throw badSchema(path, "the schema is combined with itself without end");
    const keywords = keywordsOf(schema, path);
    if (!keywords.has("$ref")) return keywords;
    const { target, pointer } = this.resolve(keywords.get("$ref"), path);
    return merged(without(keywords, "$ref"), this.inlined(target, pointer, combined + 1), path, this.budget);
  }

  private resolve(reference: unknown, path: string): { target: unknown; pointer: string } {
    if (typeof reference !== "string" || !/^#(\/|$)/.test(reference)) {
      throw badSchema(
        path,
        `$ref must point into this schema, as "#/$defs/name" does; got ${JSON.stringify(reference)}`,
      );
    }
    let target = this.root;
    for (const part of reference.split("/").slice(1)) {
      const name = decoded(part).replaceAll("~1", "/").replaceAll("~0", "~");
      const owner: unknown = target;
      if (typeof owner !== "object" || owner === null || !Object.hasOwn(owner, name)) {
        throw badSchema(path, `$ref ${JSON.stringify(reference)} points to nothing`);
      }
      target = (owner as Record<string, unknown>)[name];
    }
    return { target, pointer: reference };
  }

  private ofType(type: JsonType, keywords: Keywords, path: string): Expression {
    switch (type) {
      case "string":
        return this.scalars.string(keywords, path);
      case "integer":
      case "number":
        return this.scalars.number(type, keywords, path);
      case "boolean":
        return choice([literal("true"), literal("false")]);
      case "null":
        return literal("null");
      case "object":
        return this.object(keywords, path);
      case "array":
        return this.array(keywords, path);
    }
  }

  private object(keywords: Keywords, path: string): Expression {
    const properties = keywords.get("properties") ?? {};
    if (!isObject(properties)) throw badSchema(path, "properties must be an object");
    const listed = keywords.get("required") ?? [];
    if (!Array.isArray(listed) || !listed.every((name) => typeof name === "string")) {
      throw badSchema(path, "required must be a list of names");
    }
    const required = new Set<string>(listed);
    const names = [...new Set([...Object.keys(properties), ...required])];
    // Without a word about other properties, those of an object that names some are all it has.
    const others = keywords.get("additionalProperties") ?? names.length === 0;
    if (names.length === 0 && others === true) return call(this.json.object);
    const extra = others === false ? null : this.schema(others, `${path}/additionalProperties`);
    const members = names.flatMap((name) => {
      const at = `${path}/properties/${name}`;
      if (name.length > MAX_NAME) throw badSchema(path, `a property's name may have at most ${MAX_NAME} characters`);
      this.budget.spend(NAME_WORK);
      const own = Object.hasOwn(properties, name);
      if (own && properties[name] === false && !required.has(name)) return [];
      if (!own && keywords.get("additionalProperties") === false) {
        throw badSchema(path, `required names ${JSON.stringify(name)}, which additionalProperties forbids`);
      }
      const value = own ? this.schema(properties[name], at) : (extra ?? call(this.json.value));
      return [{ body: memberOf(literal(JSON.stringify(name)), value), required: required.has(name) }];
    });
    return this.json.objectOf(
      members,
      extra === null ? null : memberOf(quoted(keyOtherThan(names, this.budget)), extra),
    );
  }

  private array(keywords: Keywords, path: string): Expression {
    const min = countAt(keywords, "minItems", path, 0);
    const max = countAt(keywords, "maxItems", path, Infinity);
    const prefix = keywords.has("prefixItems") ? listAt(keywords, "prefixItems", path) : [];
    const items = keywords.get("items");
    if (Array.isArray(items)) throw badSchema(path, "items must be a schema; a list of them is prefixItems");
    // As with properties: a list that names its items has no others, unless it must.
    const closed = items === false || (items === undefined && prefix.length > 0 && min <= prefix.length);
    const longest = closed ? Math.min(max, prefix.length) : max;
    if (min > longest) throw badSchema(path, `minItems is ${min}, and at most ${longest} items are allowed`);
    if (prefix.length === 0 && items === undefined && min === 0 && max === Infinity) return call(this.json.array);
    const rest = closed ? null : this.schema(items ?? true, `${path}/items`);
    return this.json.arrayOf(
      prefix.map((item, i) => this.schema(item, `${path}/prefixItems/${i}`)),
      rest,
      min,
      max,
    );
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
