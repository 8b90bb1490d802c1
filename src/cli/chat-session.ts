import type { ChatMessage, GenerateParams, LanguageModel } from "../llm/types";

/** A conversation with a model. */
export class ChatSession {
  private turns: ChatMessage[] = [];

  constructor(
    private readonly llm: Pick<LanguageModel, "generate">,
    private readonly params: GenerateParams,
    private system: string | undefined,
  ) {}

  get systemPrompt(): string | undefined {
    return this.system;
  }

  /** Forgets what was said. */
  reset(): void {
    this.turns = [];
  }

  /** Replaces the system prompt and starts over: what was said was said under the old one. */
  setSystem(text: string): void {
    this.system = text;
    this.reset();
  }

  /** The answer's text, piece by piece. An aborted answer is kept as far as it came; after an error nothing is. */
  async *reply(content: string, signal: AbortSignal): AsyncGenerator<string> {
    const asked = [...this.turns, { role: "user", content }];
    const messages = this.system === undefined ? asked : [{ role: "system", content: this.system }, ...asked];
    let answer = "";
    for await (const { text } of this.llm.generate(messages, { ...this.params, signal })) {
      answer += text;
      if (text !== "") yield text;
    }
    this.turns = [...asked, { role: "assistant", content: answer }];
  }
}
