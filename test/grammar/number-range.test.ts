import fc from "fast-check";
import { compileConstraint } from "../../src/grammar/compile";
import { accepts, crossing } from "./walks";

const compile = (schema: unknown) => compileConstraint({ kind: "json_schema", schema: schema as object }, crossing);
const bounded = <Value>(value: fc.Arbitrary<Value>) =>
  fc.record({ minimum: value, exclusiveMinimum: value, maximum: value, exclusiveMaximum: value }, { requiredKeys: [] });

type Bounds = Readonly<Partial<Record<"minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum", number>>>;

function within(value: number, { minimum, exclusiveMinimum, maximum, exclusiveMaximum }: Bounds): boolean {
  return (
    value >= (minimum ?? -Infinity) &&
    value > (exclusiveMinimum ?? -Infinity) &&
    value <= (maximum ?? Infinity) &&
    value < (exclusiveMaximum ?? Infinity)
  );
}

/** null where the bounds leave no value. */
function compiled(type: string, bounds: Bounds) {
  try {
    return compile({ type, ...bounds });
  } catch (error) {
    expect(error).toMatchObject({ code: "ERR_REQUEST", message: expect.stringContaining("is within the bounds") });
    return null;
  }
}

test("integers are those within the bounds", () => {
  const value = fc.oneof(
    fc.integer({ min: -120, max: 120 }),
    fc.integer(),
    fc.integer({ min: -60, max: 60 }).map((n) => n / 4),
  );
  fc.assert(
    fc.property(
      bounded(value),
      fc.array(fc.oneof(fc.integer({ min: -130, max: 130 }), fc.integer()), { maxLength: 30 }),
      (bounds, values) => {
        const constraint = compiled("integer", bounds);
        const near = Object.values(bounds).flatMap((bound) => [-2, -1, 0, 1, 2].map((by) => Math.round(bound) + by));
        for (const integer of [...values, ...near]) {
          const text = String(integer === 0 ? 0 : integer);
          expect([text, constraint !== null && accepts(crossing, constraint, text)]).toEqual([
            text,
            within(integer, bounds),
          ]);
        }
      },
    ),
    { numRuns: 300, endOnFailure: true },
  );
});

test("numbers are those within the bounds, in every way to write them", () => {
  const decimal = fc
    .tuple(fc.integer({ min: -30, max: 30 }), fc.constantFrom(1, 2, 8, 10, 100, 1000))
    .map(([n, by]) => n / by);
  const text = fc.oneof(
    decimal.map(String),
    fc.tuple(decimal, fc.nat(12)).map(([value, places]) => value.toFixed(places)),
    fc.integer().map(String),
  );
  fc.assert(
    fc.property(bounded(decimal), fc.array(text, { maxLength: 40 }), (bounds, texts) => {
      const constraint = compiled("number", bounds);
      const near = Object.values(bounds).flatMap((bound) =>
        [-0.001, 0, 0.001, 1, -1].map((by) => (bound + by).toFixed(6)),
      );
      for (const number of [...texts, ...near].filter((one) => Number(one) !== 0 || !one.startsWith("-"))) {
        const accepted = constraint !== null && accepts(crossing, constraint, number);
        expect([number, accepted]).toEqual([number, within(Number(number), bounds)]);
      }
    }),
    { numRuns: 300, endOnFailure: true },
  );
});
