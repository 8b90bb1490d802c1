import Ajv from "ajv/dist/2020";
import addFormats from "ajv-formats";
import { z } from "zod";
import { compileConstraint } from "../../src/grammar/compile";
import { Rng } from "../helpers/rng";
import { pydanticTypes } from "./pydantic-types";
import { accepts, crossing, randomText } from "./walks";
import { zodTypes } from "./zod-types";

const ajv = addFormats(new Ajv({ strict: false, logger: false, multipleOfPrecision: 9 }));

function expectExamples(
  schema: object,
  yes: readonly string[],
  no: readonly string[],
  isValid: (value: unknown) => boolean,
) {
  const constraint = compileConstraint({ kind: "json_schema", schema }, crossing);
  const accepted = (texts: readonly string[]) => texts.filter((text) => accepts(crossing, constraint, text));
  expect(accepted(yes)).toEqual(yes);
  expect(accepted(no)).toEqual([]);
  for (const text of yes) expect([text, isValid(JSON.parse(text))]).toEqual([text, true]);
  const rng = new Rng(3);
  for (let i = 0; i < 4; i++) {
    const text = randomText(crossing, constraint, rng, 25);
    expect([text, isValid(JSON.parse(text))]).toEqual([text, true]);
  }
}

test.each(zodTypes)("Zod's %s", (_, type, yes, no) => {
  const schema = z.toJSONSchema(type);
  const validate = ajv.compile(schema);
  expectExamples(schema, yes, no, (value) => validate(value) && type.safeParse(value).success);
});

test.each(pydanticTypes)("Pydantic's %s", (_, schema, yes, no) => {
  const validate = ajv.compile(schema);
  expectExamples(schema, yes, no, (value) => validate(value));
});
