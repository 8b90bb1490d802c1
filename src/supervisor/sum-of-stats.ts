type Counts = number | readonly number[] | object;

/** Two of one shape: each number plus the other's. */
export function sumOfStats<T extends Counts>(a: T, b: T): T;
export function sumOfStats(a: Counts, b: Counts): Counts {
  if (typeof a === "number") return a + (b as number);
  if (Array.isArray(a)) return a.map((value, i) => value + (b as number[])[i]!);
  const sums = Object.entries(a).map(([name, value]) => [name, sumOfStats(value, b[name as keyof Counts])]);
  return Object.fromEntries(sums);
}
