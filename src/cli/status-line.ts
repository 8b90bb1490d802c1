import type { ProgressStream } from "./progress";

/** What runs now, on one line that is written over; nothing where stderr is not a terminal. */
export class StatusLine {
  private shown = false;

  constructor(private readonly stream: ProgressStream = process.stderr) {}

  show(text: string): void {
    if (this.stream.isTTY !== true) return;
    // A line that wraps could not be written over.
    this.stream.write(`\r\x1b[K${text.slice(0, (this.stream.columns ?? 80) - 1)}`);
    this.shown = true;
  }

  clear(): void {
    if (this.shown) this.stream.write("\r\x1b[K");
    this.shown = false;
  }
}
