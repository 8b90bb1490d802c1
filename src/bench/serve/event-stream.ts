/**
 * Server-sent events, read as they come: text cut anywhere, any of the three line ends, comments and other fields left out.
 * Each event is given as its data, lines of it joined by newlines.
 */
export class EventStream {
  /** The start of a line whose end has not come. */
  private rest = "";
  private data: string | null = null;
  /** The last text ended in a carriage return: a newline at the start of the next one belongs to it. */
  private skipNewline = false;

  constructor(private readonly onEvent: (data: string) => void) {}

  push(text: string): void {
    const chunk = this.skipNewline && text.startsWith("\n") ? text.slice(1) : text;
    if (text !== "") this.skipNewline = text.endsWith("\r");
    let from = 0;
    for (let end = lineEnd(chunk, from); end >= 0; end = lineEnd(chunk, from)) {
      this.line(this.rest + chunk.slice(from, end));
      this.rest = "";
      from = end + (chunk.startsWith("\r\n", end) ? 2 : 1);
    }
    this.rest += chunk.slice(from);
  }

  /** An event that the end of the stream cut off is given too: some servers leave out the last empty line. */
  end(): void {
    if (this.rest !== "") this.line(this.rest);
    this.rest = "";
    this.line("");
  }

  private line(line: string): void {
    if (line === "") {
      if (this.data !== null) this.onEvent(this.data);
      this.data = null;
    } else if (line.startsWith("data:")) {
      const value = line.slice(line[5] === " " ? 6 : 5);
      this.data = this.data === null ? value : `${this.data}\n${value}`;
    }
  }
}

function lineEnd(text: string, from: number): number {
  const newline = text.indexOf("\n", from);
  // Carriage returns are rare: looked for only before the newline that was found.
  const before = newline < 0 ? text.slice(from) : text.slice(from, newline);
  const carriage = before.indexOf("\r");
  return carriage < 0 ? newline : from + carriage;
}
