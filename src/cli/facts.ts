/** A label and what it says; several lines stand below each other. */
export type Fact = readonly [label: string, value: string | readonly string[]];

/** Groups of facts, a blank line between them and the values of all in one column. Ends with a newline. */
export function renderFacts(groups: readonly (readonly Fact[])[]): string {
  const width = Math.max(...groups.flat().map(([label]) => label.length)) + 2;
  const render = ([label, value]: Fact) => {
    const lines = typeof value === "string" ? [value] : value;
    return lines.map((line, i) => (i === 0 ? label : "").padEnd(width) + line).join("\n");
  };
  const shown = groups.filter((group) => group.length > 0);
  return `${shown.map((group) => group.map(render).join("\n")).join("\n\n")}\n`;
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
