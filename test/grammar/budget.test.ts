import { Budget } from "../../src/grammar/budget";

const refusal = (reason: string) =>
  expect.objectContaining({ code: "ERR_REQUEST", subject: "regex", message: expect.stringContaining(reason) });

/** How often `take` is allowed. */
function times(limits: { work: number; nodes: number }, take: (budget: Budget) => void): number {
  const budget = new Budget("regex", limits);
  for (let count = 0; ; count++) {
    try {
      take(budget);
    } catch {
      return count;
    }
  }
}

test("work is counted: a state is worth forty elementary steps, a node three", () => {
  const limits = { work: 1200, nodes: 1e6 };
  const counts = [times(limits, (budget) => budget.spend(1)), times(limits, (budget) => budget.addState())];
  expect([...counts, times(limits, (budget) => budget.addNode())]).toEqual([1200, 30, 400]);
});

test("nodes are counted beside it", () => {
  expect(times({ work: 1e6, nodes: 5 }, (budget) => budget.addNode())).toBe(5);
});

test("the refusal names what is at fault, and why", () => {
  expect(() => new Budget("regex", { work: 10, nodes: 10 }).spend(11)).toThrow(refusal("takes too long to compile"));
  expect(() => new Budget("regex", { work: 10, nodes: 0 }).addNode()).toThrow(
    refusal("once repeated parts are written out"),
  );
});
