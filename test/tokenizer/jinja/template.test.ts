import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Template } from "../../../src/tokenizer/jinja/template";
import { TemplateError } from "../../../src/tokenizer/jinja/values";

// What Python's Jinja2 made of each template, by scripts/golden/make_jinja.py.
const golden = join(__dirname, "../../golden/jinja");
const read = (...path: string[]) => readFileSync(join(golden, ...path), "utf8");

/** The text, or the name of Python's exception. */
interface Expected {
  readonly text?: string;
  readonly error?: string;
}

interface Constructs {
  readonly now: string;
  readonly context: string;
  readonly cases: readonly (Expected & { readonly template: string })[];
  readonly unsupported: readonly [template: string, what: string][];
}

const constructs: Constructs = JSON.parse(read("constructs.json"));
const now = () => new Date(constructs.now);

/** What differs from Python; null where nothing does. */
function difference(source: string, variables: string, { text, error }: Expected): string | null {
  let got: string;
  try {
    got = new Template(source, now).render(variables);
  } catch (thrown) {
    if (!(thrown instanceof TemplateError)) throw thrown;
    const raised = thrown.kind === "raised";
    if (error !== undefined && thrown.kind !== "unsupported" && raised === (error === "TemplateError")) return null;
    return `${source}\n  ${error ?? JSON.stringify(text)} expected, got ${thrown.kind}: ${thrown.message}`;
  }
  return got === text ? null : `${source}\n  ${error ?? JSON.stringify(text)} expected, got ${JSON.stringify(got)}`;
}

it("renders small constructs as Python's Jinja2 does", () => {
  const differences = constructs.cases.map((row) => difference(row.template, constructs.context, row));
  expect(differences.filter((line) => line !== null)).toEqual([]);
  expect(constructs.cases.length).toBeGreaterThan(1_200);
});

it.each(constructs.unsupported)("%s is refused by name", (template, what) => {
  const refused = { kind: "unsupported", message: expect.stringContaining(what) };
  expect(() => new Template(template, now).render(constructs.context)).toThrow(expect.objectContaining(refused));
});

describe("templates in the manner of the served families", () => {
  const chats: (Expected & { template: string; conversation: string })[] = JSON.parse(read("chats.json"));

  it.each(readdirSync(join(golden, "templates")))("%s renders conversations as Python's Jinja2 does", (name) => {
    const rows = chats.filter(({ template }) => template === name);
    const source = read("templates", name);
    const differences = rows.map((row) => difference(source, read("conversations", row.conversation), row));
    expect(differences.filter((line) => line !== null)).toEqual([]);
    expect(rows).toHaveLength(readdirSync(join(golden, "conversations")).length);
  });
});

it("a compiled template keeps nothing of a rendering", () => {
  const template = new Template(
    "{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ x }}{% set x = 1 %}",
  );
  expect(template.render('{"x": 5}')).toBe("15");
  expect(template.render("{}")).toBe("1");
});

it("variables hide the names that Jinja has", () => {
  expect(new Template("{{ range }}").render('{"range": "mine"}')).toBe("mine");
});
