import { isObject, objectOf } from "../json/value";
import { apart } from "./apart";
import type { Budget } from "./budget";
import { anything, type Conjunction, merged } from "./conjunction";
import { type Claim, type Claims, waysToFail } from "./negation";
import type { References } from "./references";
import { badSchema, type Keywords, keywordsOf, type Located, namesOf, objectAt, schemasAt } from "./schema-keywords";

/** How often schemas may be combined within each other before it must be a loop. */
const MAX_COMBINED = 200;
/** Ways to satisfy a schema that are told apart. */
const MAX_WAYS = 500;
/** Ways to fail what `not` denies, and what other options of a `oneOf` say, that are told apart in one place. */
const MAX_FAILURES = 32;
/** What it takes to read the keywords of a schema, and to look at one way for another one. */
const SCHEMA_WORK = 60;
const PAIR_WORK = 10;
/** A way to fail a schema, as one more alternative. */
const CLAIM_WORK = 10;

/** A claim and the schemas that it was found in, the innermost first. */
interface Task extends Claim {
  readonly within: Chain | null;
}

interface Chain {
  readonly schema: unknown;
  readonly outer: Chain | null;
  readonly length: number;
}

/** Alternatives, one of which holds at least. */
interface Branch {
  readonly of: (known: Conjunction, isLast: boolean) => readonly (readonly Task[])[];
  /** Whether they are ways to fail a schema, of which some may be left out. */
  readonly negated: boolean;
}

const union = (of: Branch["of"]): Branch => ({ of, negated: false });

/** Ways that were found, and where. */
interface Found {
  readonly ways: Conjunction[];
  readonly path: string;
}

/** What is known of a value on one way through the alternatives of its schemas. */
interface Way {
  readonly known: Conjunction;
  readonly read: ReadonlySet<unknown>;
  readonly branches: readonly Branch[];
}

/** Names and values that are copied when more becomes known. */
function sizeOf({ required, properties, constants }: Conjunction): number {
  return required.size + properties.length + (properties.at(-1)?.named.size ?? 0) + (constants?.length ?? 0);
}

/** Schemas with alternatives as lists of conjunctions without. */
export class Expansion {
  private readonly failing = new Map<unknown, readonly Claims[]>();

  constructor(
    private readonly references: References,
    private readonly budget: Budget,
  ) {}

  /** A value satisfies all schemas if it satisfies a conjunction; and only if, but for what `not` cannot say. */
  ways(schemas: readonly Located[]): readonly Conjunction[] {
    const found = { ways: [] as Conjunction[], path: schemas[0]!.path };
    const tasks = schemas.map((located) => ({ located, negated: false, within: null }));
    this.follow(tasks, { known: anything, read: new Set(), branches: [] }, found, MAX_FAILURES);
    return found.ways;
  }

  /** What is known of all values that satisfy schemas, alternatives left aside; null if there are none. */
  private outline(schemas: readonly Located[], known = anything): Conjunction | null {
    const tasks = schemas.map((located) => ({ located, negated: false, within: null }));
    return this.read(tasks, { known, read: new Set(), branches: [] })?.known ?? null;
  }

  /** `room`: how many ways may be found before others to fail a schema are left out; alternatives share it. */
  private follow(tasks: readonly Task[], from: Way, found: Found, room: number): void {
    const way = this.read(tasks, from);
    if (way === null) return;
    const [branch, ...branches] = way.branches;
    const { ways, path } = found;
    if (branch === undefined) {
      if (ways.length >= MAX_WAYS) throw badSchema(path, `the schema is a union of more than ${MAX_WAYS} ways`);
      ways.push(way.known);
      return;
    }
    const end = ways.length + room;
    const alternatives = branch.of(way.known, branches.length === 0);
    for (const [i, alternative] of alternatives.entries()) {
      if (branch.negated && ways.length >= end) return;
      this.budget.spend(SCHEMA_WORK + way.read.size);
      const share = Math.ceil((end - ways.length) / (alternatives.length - i));
      this.follow(alternative, { ...way, branches }, found, share);
    }
  }

  /** Adds what the tasks say without alternatives; null where that is a contradiction. */
  private read(tasks: readonly Task[], { known, read, branches }: Way): Way | null {
    const pending = [...tasks].reverse();
    const found = [...branches];
    const done = new Set(read);
    let all = known;
    for (let task = pending.pop(); task !== undefined; task = pending.pop()) {
      const { schema, path } = task.located;
      this.budget.spend(SCHEMA_WORK);
      const within = this.chain(task);
      const inner = (claim: Claim): Task => ({ ...claim, within });
      if (task.negated) {
        const failing = this.waysToFail(task.located);
        this.budget.spend(failing.length * CLAIM_WORK);
        const ways = failing.map((claims) => claims.map(inner));
        found.push({ of: () => ways, negated: true });
        continue;
      }
      if (schema === false) return null;
      if (schema === true || done.has(schema)) continue;
      done.add(schema);
      const keywords = keywordsOf(task.located);
      const claimAt = (located: Located): Task => inner({ located, negated: false });
      if (keywords.get("nullable") === true && keywords.size > 1) {
        found.push(this.nullable(task.located, claimAt));
        continue;
      }
      const both = merged(all, keywords, path);
      if (both === null) return null;
      all = both;
      this.budget.spend(sizeOf(all));
      if (keywords.has("allOf")) pending.push(...schemasAt(keywords, "allOf", path).map(claimAt).reverse());
      if (keywords.has("$ref")) pending.push(claimAt(this.references.resolve(keywords.get("$ref"), path)));
      if (keywords.has("not"))
        pending.push(inner({ located: { schema: keywords.get("not"), path: `${path}/not` }, negated: true }));
      found.push(...this.branches(keywords, path, claimAt));
    }
    return { known: all, read: done, branches: found };
  }

  private chain({ located: { schema, path }, within }: Task): Chain {
    for (let at = within; at !== null; at = at.outer) {
      if (at.schema === schema && isObject(schema)) {
        throw badSchema(path, "the schema is combined with itself without end");
      }
    }
    const length = (within?.length ?? 0) + 1;
    if (length > MAX_COMBINED) throw badSchema(path, `schemas are combined more than ${MAX_COMBINED} levels deep`);
    return { schema, outer: within, length };
  }

  private branches(keywords: Keywords, path: string, claim: (located: Located) => Task): Branch[] {
    const found: Branch[] = [];
    const at = (name: string): Located => ({ schema: keywords.get(name) ?? true, path: `${path}/${name}` });
    const denial = (located: Located): Task => ({ ...claim(located), negated: true });
    if (keywords.has("anyOf")) {
      const ways = schemasAt(keywords, "anyOf", path).map((option) => [claim(option)]);
      found.push(union(() => ways));
    }
    if (keywords.has("oneOf")) {
      const options = schemasAt(keywords, "oneOf", path);
      found.push(union((known, isLast) => this.onlyOne(options, known, isLast, claim)));
    }
    if (keywords.has("if") && (keywords.has("then") || keywords.has("else"))) {
      const ways = [
        [claim(at("if")), claim(at("then"))],
        [denial(at("if")), claim(at("else"))],
      ];
      found.push(union(() => ways));
    }
    for (const name of ["dependencies", "dependentRequired", "dependentSchemas"]) {
      for (const [property, what] of Object.entries(objectAt(keywords, name, path))) {
        const place = `${path}/${name}/${property}`;
        const isList = Array.isArray(what) || name === "dependentRequired";
        const asked = isList ? { required: [property, ...namesOf(what, name, path)] } : { required: [property] };
        const more = isList ? [] : [claim({ schema: what, path: place })];
        const ways = [
          [claim({ schema: { properties: objectOf([[property, false]]) }, path: place })],
          [claim({ schema: asked, path: place }), ...more],
        ];
        found.push(union(() => ways));
      }
    }
    return found;
  }

  /** Each of the options without those others that could hold as well. */
  private onlyOne(
    options: readonly Located[],
    known: Conjunction,
    isLast: boolean,
    claim: (located: Located) => Task,
  ): readonly (readonly Task[])[] {
    const outlines = options.map((option) => this.outline([option]));
    return options.map((option, i) => {
      this.budget.spend(PAIR_WORK * options.length);
      const own = this.outline([option], known);
      const others = options.filter((_, j) => {
        if (j === i || own === null || outlines[j] === null) return false;
        return !apart(own, outlines[j]!, isLast, (schemas) => this.outline(schemas));
      });
      return [claim(option), ...others.map((other) => ({ ...claim(other), negated: true }))];
    });
  }

  private nullable({ schema, path }: Located, claim: (located: Located) => Task): Branch {
    const { nullable: _, ...rest } = schema as Record<string, unknown>;
    const ways = [[claim({ schema: rest, path })], [claim({ schema: { const: null }, path })]];
    return union(() => ways);
  }

  private waysToFail(located: Located): readonly Claims[] {
    const { schema, path } = located;
    let ways = this.failing.get(schema);
    if (ways === undefined) {
      const reference = isObject(schema) ? schema.$ref : undefined;
      const target = reference === undefined ? null : this.references.resolve(reference, path);
      ways = [...waysToFail(located), ...(target === null ? [] : [[{ located: target, negated: true }]])];
      this.failing.set(schema, ways);
    }
    return ways;
  }
}
