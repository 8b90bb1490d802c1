import { createInterface, type Interface } from "node:readline/promises";
import { EngineError } from "../errors";
import type { ChatSession } from "./chat-session";
import { describeError } from "./report-error";

const help = `/help            this list
/reset           forget the conversation
/system [TEXT]   show the system prompt, or replace it and start over
/exit            leave (or Ctrl-D)
Ctrl-C           stop the answer`;

/** Where a conversation is held. */
export interface ChatStreams {
  readonly input: NodeJS.ReadableStream;
  /** Gets answers only, besides the prompt of a terminal. */
  readonly output: NodeJS.WritableStream;
  readonly notices: NodeJS.WritableStream;
  /** Input and output are a terminal. */
  readonly interactive: boolean;
}

/** A conversation in lines: each one is a message or a command. */
export class ChatLoop {
  private readonly terminal: Interface;
  private answer: AbortController | null = null;
  /** Ctrl-C was the last thing typed, so another one leaves. */
  private leaving = false;
  private failed = false;

  constructor(
    private readonly session: ChatSession,
    private readonly streams: ChatStreams,
  ) {
    const { input, output, interactive } = streams;
    this.terminal = createInterface({ input, ...(interactive ? { output, prompt: "> ", terminal: true } : {}) });
    if (!interactive) return;
    this.terminal.on("SIGINT", () => this.interrupt());
    this.terminal.on("close", () => this.answer?.abort());
  }

  /** Until the end of the input or /exit. False if the model failed on a message. */
  async run(): Promise<boolean> {
    const { interactive, output } = this.streams;
    if (interactive) this.terminal.prompt();
    for await (const line of this.terminal) {
      this.leaving = false;
      const said = line.trim();
      if (said === "/exit") {
        this.terminal.close();
        return !this.failed;
      }
      if (said.startsWith("/")) this.command(said);
      else if (said !== "") await this.reply(said);
      if (interactive) this.terminal.prompt();
    }
    // The shell's prompt belongs on a line of its own.
    if (interactive) output.write("\n");
    return !this.failed;
  }

  private async reply(said: string): Promise<void> {
    const { output, notices, interactive } = this.streams;
    this.answer = new AbortController();
    try {
      for await (const text of this.session.reply(said, this.answer.signal)) output.write(text);
      output.write(interactive ? "\n\n" : "\n");
    } catch (error) {
      if (!EngineError.is(error)) throw error;
      this.failed = true;
      notices.write(`${describeError(error)}\n`);
    } finally {
      this.answer = null;
    }
  }

  private command(line: string): void {
    const [name = ""] = line.split(/\s/, 1);
    this.streams.notices.write(`${this.reactionTo(name, line.slice(name.length).trim())}\n\n`);
  }

  private reactionTo(name: string, text: string): string {
    if (name === "/help") return help;
    if (name === "/system" && text === "") return this.session.systemPrompt ?? "There is no system prompt.";
    if (name === "/system") this.session.setSystem(text);
    else if (name === "/reset") this.session.reset();
    else return `There is no ${name}. /help lists the commands.`;
    return "The conversation starts over.";
  }

  private interrupt(): void {
    if (this.answer !== null) this.answer.abort();
    else if (this.leaving) this.terminal.close();
    else {
      this.leaving = true;
      // Forgets what was typed on the line.
      this.terminal.write(null, { ctrl: true, name: "e" });
      this.terminal.write(null, { ctrl: true, name: "u" });
      this.streams.notices.write("\n(Ctrl-C again leaves)\n");
      this.terminal.prompt();
    }
  }
}
