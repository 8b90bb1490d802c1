type Trie = Map<string, Trie>;

/** The end of a string in a trie. */
const END = "";

/**
 * A pattern for any of the strings, the longest where several begin at a place; null for none. What they have in common at
 * their starts is written once, so that a text is searched in time of its length, however many strings there are.
 */
export function anyOf(strings: readonly string[]): RegExp | null {
  if (strings.length === 0) return null;
  const root: Trie = new Map();
  for (const text of strings) {
    let node = root;
    for (const unit of [...text, END]) {
      let next = node.get(unit);
      if (next === undefined) {
        next = new Map();
        node.set(unit, next);
      }
      node = next;
    }
  }
  return new RegExp(source(root), "gu");
}

function source(node: Trie): string {
  let text = "";
  let current = node;
  // A run without branches is plain text.
  while (current.size === 1 && !current.has(END)) {
    const [[unit, next]] = [...current] as [[string, Trie]];
    text += escaped(unit);
    current = next;
  }
  if (current.size === 1) return text;
  const branches = [...current].filter(([unit]) => unit !== END).map(([unit, next]) => escaped(unit) + source(next));
  return `${text}(?:${branches.join("|")})${current.has(END) ? "?" : ""}`;
}

const escaped = (unit: string) => unit.replace(/[\\^$.*+?()[\]{}|/-]/u, "\\$&").replace("\\-", "-");
