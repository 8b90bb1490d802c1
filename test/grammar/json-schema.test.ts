import Ajv from "ajv/dist/2020";
import addFormats from "ajv-formats";
import fc from "fast-check";
import { compileConstraint } from "../../src/grammar/compile";
import { Rng } from "../helpers/rng";
import { schema } from "./random-schemas";
import { examples } from "./schema-examples";
import { accepts, crossing, randomText, storyteller } from "./walks";

const compile = (schema: unknown, trie = crossing) =>
  compileConstraint({ kind: "json_schema", schema: schema as object }, trie);

const ajv = addFormats(new Ajv({ strict: false, ownProperties: true, logger: false, multipleOfPrecision: 9 }));

function expectValid(schema: unknown, text: string): void {
  const value = JSON.parse(text);
  const validate = ajv.compile(schema as object);
  if (!validate(value))
    throw new Error(`${text} is not of ${JSON.stringify(schema)}: ${ajv.errorsText(validate.errors)}`);
}

const contradictory =
  /no value|18 digits|no string|forbids|no text that ends|minItems|minProperties|maxLength|false allows|different|not one of some|500 ways|too long|too large|combined|no item/;

/** allOf of objects can be contradictory, or not to be said in one schema. */
function compiled(of: unknown, trie = crossing) {
  try {
    return compile(of, trie);
  } catch (error) {
    expect(error).toMatchObject({
      code: "ERR_REQUEST",
      message: expect.stringMatching(contradictory),
    });
    return null;
  }
}

test("what is made under the masks satisfies the schema, and every walk comes to an end", () => {
  let made = 0;
  fc.assert(
    fc.property(schema, fc.integer(), (of, seed) => {
      const constraint = compiled(of);
      if (constraint === null) return;
      const rng = new Rng(seed);
      for (let i = 0; i < 3; i++) expectValid(of, randomText(crossing, constraint, rng, 25));
      made += 1;
    }),
    { numRuns: 150, endOnFailure: true },
  );
  expect(made).toBeGreaterThan(75);
});

test.each(examples)("%s", (_, of, yes, no) => {
  const constraint = compile(of);
  const valid = (texts: readonly string[]) => texts.filter((text) => accepts(crossing, constraint, text));
  expect(valid(yes)).toEqual(yes);
  expect(valid(no)).toEqual([]);
  for (const text of yes) expectValid(of, text);
});

test("any JSON is accepted where the schema allows any", () => {
  const constraint = compile({});
  fc.assert(
    fc.property(fc.json({ depthSize: "medium" }), (text) => {
      const tooLong = /\d{19}|e[+-]?\d{3}|\.\d{18}/.test(text.replace(/"(\\.|[^"\\])*"/g, '""'));
      fc.pre(!tooLong && !text.includes("-0") && !/\\ud[89a-f]/i.test(text));
      expect([text, accepts(crossing, constraint, text)]).toEqual([text, true]);
    }),
    { numRuns: 300 },
  );
});

test("the bundled model's vocabulary writes objects that JSON.parse reads", () => {
  const of = {
    type: "object",
    properties: {
      name: { type: "string", maxLength: 20 },
      age: { type: "integer", minimum: 0, maximum: 130 },
      tags: { type: "array", items: { enum: ["brave", "small"] }, maxItems: 3 },
    },
    required: ["name", "age"],
  };
  const rng = new Rng(5);
  const constraint = compile(of, storyteller());
  for (let i = 0; i < 30; i++) expectValid(of, randomText(storyteller(), constraint, rng));
  const any = compileConstraint({ kind: "json_object" }, storyteller());
  for (let i = 0; i < 30; i++) expectValid({ type: "object" }, randomText(storyteller(), any, rng));
});

test("nesting is bounded, and the deepest value still comes to an end", () => {
  const constraint = compile({});
  expect(accepts(crossing, constraint, "[".repeat(60) + "]".repeat(60))).toBe(true);
  expect(accepts(crossing, constraint, "[".repeat(80) + "]".repeat(80))).toBe(false);
  const deep = compile({ $ref: "#/$defs/n", $defs: { n: { properties: { n: { $ref: "#/$defs/n" } } } } });
  expect(accepts(crossing, deep, `${'{"n":'.repeat(40)}{}${"}".repeat(40)}`)).toBe(true);
});
