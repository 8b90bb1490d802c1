import type { Budget } from "./budget";
import { choice, type Expression, nothing, type Rule, sequence } from "./expression";
import { badGrammar, GrammarReader, type GrammarRule } from "./gbnf-syntax";
import type { RuleTexts } from "./json-schema";

/** A rule that is not within itself is written where it is called, up to so many parts: calls cost more than states. */
const MAX_INLINED = 400;

/**
 * Rules of a grammar in llama.cpp's notation (GBNF), that of `root` first.
 *
 * @throws EngineError ERR_REQUEST, with line and column, for what is malformed or begins with itself.
 */
export function grammarRules(source: string, budget: Budget): RuleTexts {
  const rules = new GrammarReader(source, budget).read();
  const byRule = new Map([...rules.values()].map((rule) => [rule.rule, rule]));
  checkStarts(byRule, budget);
  return new Inliner(byRule, budget).rules(rules.get("root")!.rule);
}

type ByRule = ReadonlyMap<Rule, GrammarRule>;

/** The parts of an expression of a grammar, of which there are no lists and no members. */
function partsOf(expression: Expression): readonly Expression[] {
  switch (expression.kind) {
    case "sequence":
      return expression.parts;
    case "choice":
      return expression.options;
    case "repeat":
      return [expression.body];
    default:
      return [];
  }
}

/** Rules that can stand for the empty text. */
function nullableRules(rules: ByRule, budget: Budget): ReadonlySet<Rule> {
  const nullable = new Set<Rule>();
  const isNullable = (expression: Expression): boolean => {
    budget.spend(1);
    switch (expression.kind) {
      case "bytes":
        return expression.bytes.length === 0;
      case "call":
        return nullable.has(expression.rule);
      case "sequence":
        return expression.parts.every(isNullable);
      case "choice":
        return expression.options.some(isNullable);
      case "repeat":
        return expression.min === 0 || isNullable(expression.body);
      default:
        return false;
    }
  };
  for (let before = -1; before < nullable.size; ) {
    before = nullable.size;
    for (const { rule, body } of rules.values()) if (!nullable.has(rule) && isNullable(body)) nullable.add(rule);
  }
  return nullable;
}

/** A rule that calls itself before it reads anything could be entered for ever. */
function checkStarts(rules: ByRule, budget: Budget): void {
  const nullable = nullableRules(rules, budget);
  const starts = new Map<Rule, readonly Rule[]>();
  /** Adds the rules that can be called first; true if the expression can be empty. */
  const first = (expression: Expression, found: Rule[]): boolean => {
    budget.spend(1);
    switch (expression.kind) {
      case "call":
        found.push(expression.rule);
        return nullable.has(expression.rule);
      case "sequence":
        return expression.parts.every((part) => first(part, found));
      case "choice":
        return expression.options.map((option) => first(option, found)).includes(true);
      case "repeat":
        return first(expression.body, found) || expression.min === 0;
      default:
        return expression.kind === "bytes" && expression.bytes.length === 0;
    }
  };
  for (const { rule, body } of rules.values()) {
    const found: Rule[] = [];
    first(body, found);
    starts.set(rule, found);
  }
  for (const rule of rules.keys()) {
    if (!reaches(rule, rule, (from) => starts.get(from)!, budget)) continue;
    const message = `the rule ${rule.name} begins with itself (left recursion); write what repeats with * or +`;
    throw badGrammar(rules.get(rule)!.place, message);
  }
}

/** Whether a rule is among those that follow from another one, however far. */
function reaches(from: Rule, to: Rule, next: (rule: Rule) => readonly Rule[], budget: Budget): boolean {
  const seen = new Set<Rule>();
  const pending = [...next(from)];
  for (let rule = pending.pop(); rule !== undefined; rule = pending.pop()) {
    if (rule === to) return true;
    if (seen.has(rule)) continue;
    seen.add(rule);
    budget.spend(1);
    pending.push(...next(rule));
  }
  return false;
}

/** Writes rules that are small and not within themselves where they are called. */
class Inliner {
  private readonly calls = new Map<Rule, readonly Rule[]>();
  private readonly written = new Map<
    Rule,
    { readonly body: Expression; readonly size: number; readonly isOpen: boolean }
  >();

  constructor(
    private readonly byRule: ByRule,
    private readonly budget: Budget,
  ) {
    for (const { rule, body } of byRule.values()) this.calls.set(rule, callsOf(body));
  }

  rules(root: Rule): RuleTexts {
    const texts: [Rule, Expression][] = [];
    const seen = new Set<Rule>();
    const pending = [root];
    for (let rule = pending.pop(); rule !== undefined; rule = pending.pop()) {
      if (seen.has(rule)) continue;
      seen.add(rule);
      const { body } = this.write(rule);
      texts.push([rule, body]);
      pending.push(...callsOf(body));
    }
    return texts;
  }

  private write(rule: Rule): { readonly body: Expression; readonly size: number; readonly isOpen: boolean } {
    let known = this.written.get(rule);
    if (known === undefined) {
      const isOpen = !reaches(rule, rule, (from) => this.calls.get(from)!, this.budget);
      const { body } = this.byRule.get(rule)!;
      if (!isOpen) this.written.set(rule, { body, size: Infinity, isOpen });
      const inlined = this.inlined(body);
      known = { body: inlined, size: this.size(inlined), isOpen };
      this.written.set(rule, known);
    }
    return known;
  }

  private inlined(expression: Expression): Expression {
    this.budget.spend(1);
    switch (expression.kind) {
      case "call": {
        const { body, size, isOpen } = this.write(expression.rule);
        return isOpen && size <= MAX_INLINED ? body : expression;
      }
      case "sequence":
        return sequence(...expression.parts.map((part) => this.inlined(part)));
      case "choice":
        return expression.options.length === 0
          ? nothing
          : choice(expression.options.map((option) => this.inlined(option)));
      case "repeat":
        return { ...expression, body: this.inlined(expression.body) };
      default:
        return expression;
    }
  }

  /** Parts once repetitions are written out, about. */
  private size(expression: Expression): number {
    this.budget.spend(1);
    if (expression.kind === "bytes") return expression.bytes.length;
    const parts = partsOf(expression).reduce((sum, part) => sum + this.size(part), 1);
    if (expression.kind !== "repeat") return parts;
    return parts * Math.max(1, expression.max === Infinity ? expression.min : expression.max);
  }
}

function callsOf(expression: Expression): readonly Rule[] {
  return expression.kind === "call" ? [expression.rule] : partsOf(expression).flatMap(callsOf);
}
