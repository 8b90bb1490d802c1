/** Case tables: a base row and rows that differ from it in a named way. */

export interface Case<Row> {
  readonly name: string;
  readonly row: Row;
}

export const full = Boolean(process.env.FULL_TABLES);

function text(value: unknown): string {
  if (Array.isArray(value) && value.length > 16) return `[${value.slice(0, 4)}, ... ${value.length} in all]`;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** One case per change of `base`, named after what it changes. */
export function cases<Row extends object>(base: Row, changes: readonly Partial<Row>[]): Case<Row>[] {
  return changes.map((change) => {
    const name = Object.entries(change).map(([key, value]) => `${key} ${text(value)}`);
    return { name: name.join(", ") || "base", row: { ...base, ...change } };
  });
}

type Axes<Row> = { readonly [Key in keyof Row]?: readonly Row[Key][] };

/** Every combination of the axes' values. */
export function product<Row extends object>(axes: Axes<Row>): Partial<Row>[] {
  let out: Partial<Row>[] = [{}];
  for (const key of Object.keys(axes) as (keyof Row)[]) {
    out = out.flatMap((row) => axes[key]!.map((value) => ({ ...row, [key]: value })));
  }
  return out;
}

/** A whole published table: only under FULL_TABLES=1 (npm run test:full). */
export function describePublished<Row extends object>(
  title: string,
  table: readonly Case<Row>[],
  check: (row: Row) => Promise<unknown>,
): void {
  if (!full) return;
  describe(title, () => {
    const limit = 600_000; // ms; the largest rows take half a minute
    const each = test.each(table.map(({ name, row }) => [name, row] as const));
    each("%s", (_name, row) => check(row), limit);
  });
}
