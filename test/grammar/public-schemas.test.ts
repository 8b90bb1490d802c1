import { readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv7 from "ajv";
import Ajv from "ajv/dist/2020";
import addFormats from "ajv-formats";
import { compileConstraint } from "../../src/grammar/compile";
import { Rng } from "../helpers/rng";
import { crossing, randomText } from "./walks";

const options = { strict: false, logger: false, multipleOfPrecision: 9, validateSchema: false } as const;
/**
 * What public schemas (configuration files, manifests, API definitions, tools of models) say, in the combinations of keywords
 * that are common there; each written anew and as short as it can be: a name and a schema on each line.
 */
const schemas = readFileSync(join(__dirname, "public-schemas.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as [name: string, schema: object]);

test("there are a hundred of them", () => {
  expect(schemas.length).toBeGreaterThanOrEqual(100);
});

test.each(schemas)("%s", (_, schema) => {
  // Lists of items and ids are read as older drafts have them where they are written so.
  const isOld = /"items":\[|"id":"http|"exclusiveMinimum":true/.test(JSON.stringify(schema));
  const ajv = isOld ? addFormats(new Ajv7(options)) : addFormats(new Ajv(options));
  const text = JSON.stringify(schema)
    .replace('"id":"http://example.org/x#",', "")
    .replace('"minimum":0,"exclusiveMinimum":true', '"exclusiveMinimum":0');
  const validate = ajv.compile(JSON.parse(text));
  const constraint = compileConstraint({ kind: "json_schema", schema }, crossing);
  const rng = new Rng(4);
  for (let i = 0; i < 3; i++) {
    const made = randomText(crossing, constraint, rng, 25);
    expect([made, validate(JSON.parse(made)) || ajv.errorsText(validate.errors)]).toEqual([made, true]);
  }
});
