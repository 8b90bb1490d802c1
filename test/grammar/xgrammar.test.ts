import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { compileConstraint } from "../../src/grammar/compile";
import { Rng } from "../helpers/rng";
import { accepts, randomText, vocabularyOf } from "./walks";

const ascii = vocabularyOf(
  ['{"', '":', "true", "12", "ab", "],"],
  [10, ...Array.from({ length: 95 }, (_, i) => 32 + i)].map((byte) => Uint8Array.of(byte)),
);

interface Job {
  readonly schema?: object;
  readonly grammar?: string;
  readonly texts: readonly string[];
}

/** What web-xgrammar takes of the texts of each job. */
function asked(jobs: readonly Job[]): boolean[][] {
  const input = JSON.stringify(jobs);
  return JSON.parse(execFileSync(process.execPath, [join(__dirname, "xgrammar.cjs")], { input, encoding: "utf8" }));
}

function own(job: Job): boolean[] {
  const { schema, grammar = "" } = job;
  const constraint = compileConstraint(
    schema === undefined ? { kind: "grammar", grammar } : { kind: "json_schema", schema },
    ascii,
  );
  return job.texts.map((text) => accepts(ascii, constraint, text));
}

/** The text itself, and with a character left out, doubled or changed. */
function variants(text: string, rng: Rng): string[] {
  const at = () => rng.integer(0, Math.max(0, text.length - 1));
  const [a, b, c] = [at(), at(), at()];
  const other = 'abx01 ,:{}[]"-.e\n'[rng.integer(0, 16)]!;
  return [
    text,
    text.slice(0, a) + text.slice(a + 1),
    text.slice(0, b) + text.slice(b, b + 1) + text.slice(b),
    text.slice(0, c) + other + text.slice(c + 1),
  ];
}

const grammars = [
  'root ::= "a" [b-d]{2,3} | "x" ("y" | "z")* "."\n',
  'root ::= "[" (item ("," item)*)? "]"\nitem ::= [0-9]+ | root\n',
  'root ::= expr\nexpr ::= term ([-+] term)*\nterm ::= [0-9]{1,2} | "(" expr ")"\n',
  'root ::= (line "\\n"){1,3}\nline ::= [^\\n,]* ("," [^\\n,]*)*\n',
  'root ::= "a" root "b" | "c"\n',
];

test("grammars stand for the same texts", () => {
  const rng = new Rng(2);
  const jobs = grammars.map((grammar) => {
    const constraint = compileConstraint({ kind: "grammar", grammar }, ascii);
    const texts = Array.from({ length: 25 }, () => variants(randomText(ascii, constraint, rng, 10), rng)).flat();
    return { grammar, texts };
  });
  const theirs = asked(jobs);
  for (const [i, job] of jobs.entries()) {
    const compared = own(job).map((accepted, at) => [job.grammar, job.texts[at], accepted]);
    expect(compared).toEqual(theirs[i]!.map((accepted, at) => [job.grammar, job.texts[at], accepted]));
    expect(new Set(theirs[i]).size).toBe(2);
  }
});

const schemas: readonly (readonly [schema: object, texts: readonly string[]])[] = [
  [{ type: "integer", minimum: -5, maximum: 17 }, ["-6", "-5", "0", "9", "17", "18", "1.5", '"1"']],
  [{ type: "string", minLength: 1, maxLength: 3 }, ['""', '"a"', '"abc"', '"abcd"', "1"]],
  [{ type: "string", pattern: "^[a-c]+-\\d{2}$" }, ['"a-12"', '"abc-1"', '"d-12"', '"a-123"']],
  [{ type: "string", format: "date" }, ['"2024-02-28"', '"2024-13-01"', '"24-01-01"']],
  [{ type: "string", format: "ipv4" }, ['"1.2.3.4"', '"1.2.3"', '"1.2.3.256"']],
  [{ enum: ["a", 1, null, true] }, ['"a"', "1", "null", "true", '"b"', "2"]],
  [
    { type: "array", items: { type: "boolean" }, minItems: 1, maxItems: 2 },
    ["[]", "[true]", "[true, false]", "[true,false,true]", "[1]"],
  ],
  [
    {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "null" } },
      required: ["a"],
      additionalProperties: false,
    },
    ["{}", '{"a":1}', '{"a": 1, "b": null}', '{"b":null}', '{"a":1,"c":2}', '{"b":null,"a":1}'],
  ],
  [{ anyOf: [{ type: "integer" }, { type: "array", items: { type: "null" } }] }, ["1", "[null]", "[1]", '""']],
  [
    {
      $ref: "#/$defs/n",
      $defs: {
        n: {
          type: "object",
          properties: { n: { anyOf: [{ $ref: "#/$defs/n" }, { type: "null" }] } },
          required: ["n"],
          additionalProperties: false,
        },
      },
    },
    ['{"n":null}', '{"n":{"n":null}}', '{"n":{}}', "{}"],
  ],
  [
    { type: "array", prefixItems: [{ type: "integer" }, { const: "x" }], items: false, minItems: 2 },
    ['[1,"x"]', '[1,"y"]', "[1]", '[1,"x",2]'],
  ],
];

test("schemas allow the same texts", () => {
  const jobs = schemas.map(([schema, texts]) => ({ schema, texts }));
  const theirs = asked(jobs);
  for (const [i, job] of jobs.entries()) {
    expect([job.schema, own(job)]).toEqual([job.schema, theirs[i]]);
  }
});
