import type { ToolEvent, ToolParser } from "../../../../src/server/openai/tools/events";

/** What a parser makes of a text in pieces, as "kind: text"; neighbours of a kind are joined, since a cut may part them. */
export function parsed(parser: ToolParser, pieces: readonly string[]): string[] {
  const parts: string[][] = [];
  const events: readonly ToolEvent[] = [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()];
  for (const event of events) {
    const last = parts.at(-1);
    if (event.kind !== "call" && last?.[0] === event.kind) last[1] += event.text;
    else parts.push([event.kind, event.kind === "call" ? event.name : event.text]);
  }
  return parts.map(([kind, text]) => `${kind}: ${text}`);
}
