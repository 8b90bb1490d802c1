import fc from "fast-check";
import { compileConstraint } from "../../src/grammar/compile";
import { accepts, crossing } from "./walks";

const patterns = [
  ...["a", "^a", "a$", "^a$", "a|^b", "b$|a", "^dev|alpha|rc|RC|stable$", "(^a|b)c", "a(b|$)", "", "^", "$", "^$|^b"],
  ...["(?=b)[a-c]{2}", "^(?!a)b*c", "a(?!b)", "a(?=b$)", "^(?=.{2,3}$)[ab]+", "[^a]b", "(a|bc)+$", "\\n", '"'],
];

test("a schema's pattern is found in exactly those texts where JavaScript's RegExp finds it", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "c", "é", "\n", '"', "dev", "rc", "stable"), maxLength: 4 });
  const compiled = patterns.map((pattern) => {
    const schema = { type: "string", pattern };
    return {
      expression: new RegExp(pattern, "u"),
      constraint: compileConstraint({ kind: "json_schema", schema }, crossing),
    };
  });
  fc.assert(
    fc.property(text, (value) => {
      for (const { expression, constraint } of compiled) {
        const accepted = accepts(crossing, constraint, JSON.stringify(value));
        expect([expression.source, value, accepted]).toEqual([expression.source, value, expression.test(value)]);
      }
    }),
    { numRuns: 100 },
  );
});
