import { formatBytes } from "./units";

const BAR_WIDTH = 24;
const REDRAW_MS = 80;
/** What is done sooner is not worth a flash on the screen. */
const SHOW_AFTER_MS = 150;

/** Where a progress line goes: process.stderr, or a stand-in. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** One line of progress, redrawn in place on a terminal and cleared at the end; nothing at all elsewhere. */
export class ProgressBar {
  private readonly start = performance.now();
  private drawnAt = 0;

  constructor(
    private readonly label: string,
    private readonly stream: ProgressStream = process.stderr,
  ) {}

  /** `total` is 0 where it is not known. */
  update(bytes: number, total: number): void {
    const now = performance.now();
    if (this.stream.isTTY !== true || now - this.start < SHOW_AFTER_MS || now - this.drawnAt < REDRAW_MS) return;
    this.drawnAt = now;
    const rate = `${formatBytes(Math.round((bytes * 1000) / (now - this.start)))}/s`;
    const share = Math.min(1, bytes / total);
    const filled = Math.round(share * BAR_WIDTH);
    const bar = `[${"#".repeat(filled)}${".".repeat(BAR_WIDTH - filled)}] ${String(Math.floor(share * 100)).padStart(3)} %`;
    const line =
      total === 0
        ? `${this.label}  ${formatBytes(bytes)}  ${rate}`
        : `${this.label}  ${bar}  ${formatBytes(bytes)} of ${formatBytes(total)}  ${rate}`;
    // A line that wraps could not be redrawn in place.
    this.stream.write(`\r\x1b[K${line.slice(0, (this.stream.columns ?? 80) - 1)}`);
  }

  /** Clears the line. */
  end(): void {
    if (this.drawnAt > 0) this.stream.write("\r\x1b[K");
  }
}
