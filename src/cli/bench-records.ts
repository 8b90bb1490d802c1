import { appendFileSync } from "node:fs";
import { EngineError } from "../errors";
import type { RecordFlags } from "./bench-flags";
import { gitCommit } from "./package-info";

/** Where measurements go as JSON lines: to stdout, to a file, to both or nowhere. */
export class BenchRecords {
  private readonly date = new Date().toISOString().slice(0, 10);
  private readonly commit: string | null;

  constructor(
    private readonly bench: string,
    private readonly flags: RecordFlags,
  ) {
    this.commit = flags.commit ?? gitCommit();
    // Fails now if it will: not after minutes of measuring.
    this.save("");
  }

  add(result: object): void {
    const line = `${JSON.stringify({ bench: this.bench, ...result, date: this.date, commit: this.commit })}\n`;
    if (this.flags.json) process.stdout.write(line);
    this.save(line);
  }

  private save(text: string): void {
    const { save } = this.flags;
    if (save === undefined) return;
    try {
      appendFileSync(save, text);
    } catch (cause) {
      throw new EngineError("ERR_IO", `${save} cannot be written: ${(cause as Error).message}`, {
        subject: save,
        cause,
      });
    }
  }
}
