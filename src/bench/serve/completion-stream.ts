import { EventStream } from "./event-stream";

/** What a server says of a request's tokens. */
export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Prompt tokens that came from a cache; null where the server does not say. */
  readonly cachedTokens: number | null;
}

interface Frame {
  readonly error?: { readonly message?: string } | string | null;
  readonly choices?: readonly {
    readonly text?: string | null;
    readonly delta?: { readonly role?: string; readonly content?: string | null; readonly reasoning_content?: string };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: {
    readonly prompt_tokens?: number;
    readonly completion_tokens?: number;
    readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null;
  } | null;
}

/** Longest piece of a broken frame in an error message, in characters. */
const SHOWN = 200;

/** The streamed answer to one completion or chat completion of a single choice, and when its parts came. */
export class CompletionStream {
  /** When each output came, as given to push(). One output may hold several tokens. */
  readonly outputTimes: number[] = [];
  /** When the last frame with a choice came. */
  lastTime = 0;
  usage: Usage | null = null;
  /** Why the answer is worthless, or null. */
  error: string | null = null;
  private readonly pieces: string[] = [];
  private finished = false;
  private now = 0;
  private readonly events = new EventStream((data) => this.event(data));

  constructor(private readonly options: { readonly keepText: boolean }) {}

  get text(): string {
    return this.pieces.join("");
  }

  /** Text of the answer's body that came at `now`. */
  push(text: string, now: number): void {
    this.now = now;
    this.events.push(text);
  }

  /** The body is complete. */
  end(now: number): void {
    this.now = now;
    this.events.end();
    if (this.outputTimes.length === 0) this.error ??= "the answer ended without any output";
    if (!this.finished) this.error ??= "the stream ended early: neither finish_reason nor [DONE] came";
  }

  private event(data: string): void {
    if (data === "[DONE]") {
      this.finished = true;
      return;
    }
    let frame: Frame;
    try {
      frame = JSON.parse(data) as Frame;
    } catch {
      this.error ??= `a frame of the stream is not JSON: ${data.slice(0, SHOWN)}`;
      return;
    }
    if (frame.error) this.error ??= `error frame: ${errorText(frame.error)}`;
    if (frame.usage) this.usage = readUsage(frame.usage);
    const choice = frame.choices?.[0];
    if (choice === undefined) return;
    const text = choice.text ?? choice.delta?.content ?? "";
    const ends = (choice.finish_reason ?? null) !== null;
    this.finished ||= ends;
    this.lastTime = this.now;
    // Without text it can still be a token, such as a special one; but not the opening of a chat, which only names the role,
    // nor the closing of an answer, which only says why.
    const empty = text === "" && !choice.delta?.reasoning_content;
    const first = this.outputTimes.length === 0;
    const opening = first && !ends && choice.delta?.role !== undefined;
    if (empty && (opening || (ends && !first))) return;
    this.outputTimes.push(this.now);
    if (this.options.keepText) this.pieces.push(text);
  }
}

/** The message of an OpenAI error, in any of the shapes that servers give it. */
export function errorText(error: { readonly message?: string } | string): string {
  return (typeof error === "string" ? error : (error.message ?? JSON.stringify(error))).slice(0, SHOWN);
}

function readUsage(usage: NonNullable<Frame["usage"]>): Usage {
  return {
    promptTokens: usage.prompt_tokens ?? 0,
    completionTokens: usage.completion_tokens ?? 0,
    cachedTokens: usage.prompt_tokens_details?.cached_tokens ?? null,
  };
}
