import { compileConstraint } from "../../src/grammar/compile";
import { ConstraintCache } from "../../src/grammar/constraint-cache";
import { parseJson } from "../../src/json/parse";
import { accepts, crossing } from "./walks";

/** Schemas as texts: their numbers and the order of their keys are more than JSON.parse keeps. */
const compile = (text: string) =>
  compileConstraint({ kind: "json_schema", schema: parseJson(text) as object }, crossing);

test.each<[schema: string, yes: readonly string[], no: readonly string[]]>([
  ['{"const":9007199254740993}', ["9007199254740993"], ["9007199254740992"]],
  ['{"enum":[1.0,1e2,-0,{"b":1,"10":2.50,"2":3}]}', ["1.0", "1e2", "-0", '{"b":1,"10":2.50,"2":3}'], ["1", "100"]],
  ['{"enum":[1.0,2.5],"type":"integer"}', ["1.0"], ["2.5"]],
  ['{"enum":[1,2,3],"minimum":2.0}', ["2", "3"], ["1"]],
  ['{"allOf":[{"enum":[1.0,2]},{"enum":[1,3]}]}', ["1.0"], ["2", "3"]],
  [
    '{"type":"integer","minimum":9223372036854775807,"maximum":9223372036854775809}',
    ["9223372036854775807", "9223372036854775809"],
    ["9223372036854775806", "9223372036854775810"],
  ],
  ['{"type":"integer","exclusiveMinimum":-18446744073709551616}', ["-18446744073709551615"], ["-18446744073709551616"]],
  ['{"type":"number","maximum":0.30000000000000004}', ["0.30000000000000004", "0.3"], ["0.30000000000000005"]],
  ['{"type":"number","exclusiveMinimum":1e-20}', ["0.1", "1"], ["0", "0.00000000000000000001"]],
  ['{"type":"number","minimum":1e300}', [`1${"0".repeat(300)}`], ["1"]],
  [
    '{"type":"object","properties":{"b":{},"10":{},"2":{}},"required":["10","2","b"]}',
    ['{"b":1,"10":2,"2":3}'],
    ['{"2":3,"10":2,"b":1}'],
  ],
  ['{"type":"string","maxLength":2.0}', ['"ab"'], ['"abc"']],
  ['{"not":{"const":1.0},"type":"integer"}', ["2"], ["1"]],
])("%s", (schema, yes, no) => {
  const constraint = compile(schema);
  const accepted = (texts: readonly string[]) => texts.filter((text) => accepts(crossing, constraint, text));
  expect(accepted(yes)).toEqual(yes);
  expect(accepted(no)).toEqual([]);
});

test("constraints that differ in a digit only are kept apart", () => {
  const cache = new ConstraintCache(crossing);
  const of = (text: string) => cache.get({ kind: "json_schema", schema: parseJson(text) as object });
  expect(of('{"const":9007199254740993}')).not.toBe(of('{"const":9007199254740992}'));
  expect(of('{"const":1.0}')).not.toBe(of('{"const":1}'));
  expect(of('{"const":1.0}')).toBe(of('{ "const": 1.0 }'));
});
