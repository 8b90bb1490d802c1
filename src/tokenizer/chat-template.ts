import { join } from "node:path";
import { EngineError, type ErrorCode } from "../errors";
import { stringifyJson } from "../json/stringify";
import type { JsonNumber } from "../json/value";
import type { RenderData, RenderJob } from "./render-program";
import { Sandbox, SandboxError } from "./sandbox/sandbox";

/** Running time of one rendering, milliseconds. */
const RENDER_DEADLINE_MS = 1_000;
const RENDER_HEAP_MIB = 128;
/** Characters (UTF-16 units) of a template and of what it renders. */
const MAX_TEMPLATE_CHARS = 1 << 20;
const MAX_OUTPUT_CHARS = 1 << 22;
/** Characters of messages and tools up to which a template that overruns its budget is at fault, and not they. */
const LARGE_INPUT_CHARS = 1 << 18;

/** Names the template gets from us or from Jinja; a keyword argument of these names is refused. */
const RESERVED = new Set([
  "messages",
  "tools",
  "documents",
  "add_generation_prompt",
  "range",
  "dict",
  "cycler",
  "joiner",
  "lipsum",
  "raise_exception",
  "strftime_now",
  "namespace",
  "true",
  "false",
  "none",
  "True",
  "False",
  "None",
]);

/** A message as templates read it; keys other than these two (tool_calls ...) pass through. */
export interface TemplateMessage {
  readonly role: string;
  readonly content?: unknown;
}

export interface RenderOptions {
  /** Default true: the text ends where the assistant's answer begins. */
  readonly addGenerationPrompt?: boolean;
  /** Tool definitions (OpenAI's shape); null to the template when left out. */
  readonly tools?: readonly object[];
  /** More variables for the template (enable_thinking ...). Own names of the template's environment are refused. */
  readonly kwargs?: Readonly<Record<string, string | number | JsonNumber | boolean | null>>;
}

export interface ChatTemplateLimits {
  /** Milliseconds of one rendering. Default 1000. */
  readonly deadlineMs?: number;
  /** Characters of the rendered text. Default 4 Mi. */
  readonly maxOutputChars?: number;
  /** V8 heap of the rendering process. Default 128. */
  readonly heapMiB?: number;
}

/**
 * A model's Jinja chat template, rendered as transformers renders it. Both the template and the messages are untrusted:
 * everything, parsing included, happens in a sandbox process under a time, memory and output budget, and the event loop is
 * never held up.
 */
export class ChatTemplate {
  private readonly specialTokens: Readonly<Record<string, string>>;
  private readonly sandbox: Sandbox;
  private readonly deadlineMs: number;

  private constructor(source: string, specialTokens: Readonly<Record<string, string>>, limits: ChatTemplateLimits) {
    this.specialTokens = specialTokens;
    this.deadlineMs = limits.deadlineMs ?? RENDER_DEADLINE_MS;
    const data: RenderData = { source, maxOutputChars: limits.maxOutputChars ?? MAX_OUTPUT_CHARS };
    this.sandbox = new Sandbox({
      program: join(__dirname, "render-program"),
      data: () => data,
      heapMiB: limits.heapMiB ?? RENDER_HEAP_MIB,
    });
  }

  /**
   * Cheap: parsing waits for the first rendering, so a model with a broken template still loads and completes text.
   *
   * @param source Jinja source, at most 1 Mi characters.
   * @param specialTokens Variables by the names of tokenizer_config.json, `{ bos_token: "<s>", ... }`.
   * @throws EngineError ERR_BROKEN_TEMPLATE when the source is too long.
   */
  static compile(
    source: string,
    specialTokens: Readonly<Record<string, string>>,
    limits: ChatTemplateLimits = {},
  ): ChatTemplate {
    if (source.length > MAX_TEMPLATE_CHARS) {
      const reason = `it has ${source.length} characters, more than the ${MAX_TEMPLATE_CHARS} allowed`;
      throw templateError("ERR_BROKEN_TEMPLATE", reason);
    }
    return new ChatTemplate(source, specialTokens, limits);
  }

  /** Starts the process and parses. Throws as `render` does; calling it at load time makes the first request quick. */
  async warm(): Promise<void> {
    await this.run(null);
  }

  /**
   * Renders a short conversation, which any template can, and makes the first request quick. Rejects with what is broken;
   * a template that refuses these messages by raise_exception is not.
   *
   * @throws EngineError as `render`.
   */
  async check(): Promise<void> {
    try {
      await this.render([{ role: "user", content: "Hello" }]);
    } catch (error) {
      if (!EngineError.is(error) || error.code !== "ERR_CHAT_TEMPLATE") throw error;
    }
  }

  /**
   * The conversation as text. Encode it with `addSpecialTokens: false` (the template writes its own); pass contents
   * through `Tokenizer.escapeSpecial` first, or they can forge turns. Values may be what `parseJson` gives: numbers and
   * the order of keys reach the template as the request spelled them.
   *
   * @throws EngineError ERR_CHAT_TEMPLATE with the text of `raise_exception`, or for an argument that is not allowed;
   *   ERR_BROKEN_TEMPLATE where the template itself is at fault: a syntax error, what is not supported, an overrun budget;
   *   ERR_TOO_LONG where that comes of long messages; ERR_OVERLOADED after 30 s of waiting behind other renderings;
   *   ERR_CLOSED after `close`.
   */
  async render(messages: readonly TemplateMessage[], options: RenderOptions = {}): Promise<string> {
    const { addGenerationPrompt = true, tools = null, kwargs = {} } = options;
    for (const name of Object.keys(kwargs)) {
      if (RESERVED.has(name) || Object.hasOwn(this.specialTokens, name)) {
        const reason = `the argument "${name}" would replace one of the template's own variables`;
        throw templateError("ERR_CHAT_TEMPLATE", reason);
      }
    }
    const variables = stringifyJson({
      ...kwargs,
      ...this.specialTokens,
      messages,
      tools,
      documents: null,
      add_generation_prompt: addGenerationPrompt,
    });
    return this.run(variables);
  }

  /** Ends the rendering process. */
  close(): Promise<void> {
    return this.sandbox.close();
  }

  private async run(job: RenderJob): Promise<string> {
    try {
      return (await this.sandbox.run(job, this.deadlineMs)) as string;
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      if (error.reason === "closed") throw new EngineError("ERR_CLOSED", "the model is closed", { cause: error });
      if (error.reason === "busy") throw new EngineError("ERR_OVERLOADED", error.message, { cause: error });
      if (error.kind === "raised") throw templateError("ERR_CHAT_TEMPLATE", error.message, error);
      const overrun = error.reason !== "job" || error.kind === undefined;
      if (overrun && job !== null && job.length > LARGE_INPUT_CHARS) {
        const message = `the messages cannot be rendered with the chat template: ${error.message}`;
        throw new EngineError("ERR_TOO_LONG", message, { subject: "messages", cause: error });
      }
      throw templateError("ERR_BROKEN_TEMPLATE", error.message, error);
    }
  }
}

function templateError(code: ErrorCode, reason: string, cause?: unknown): EngineError {
  return new EngineError(code, `the chat template failed: ${reason}`, { subject: "chat_template", cause });
}
