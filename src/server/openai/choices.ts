import { type FinishReason, sumOfDrafts } from "../../engine/policy/request";
import { EngineError } from "../../errors";
import type {
  GenerateParams,
  Generation,
  GenerationChunk,
  GenerationResult,
  LanguageModel,
  Prompt,
  PromptLogprob,
  TokenLogprob,
  Usage,
} from "../../llm/types";
import { HttpError } from "../http/http-error";
import type { GenerationMeter, GenerationObserver } from "../http/observer";
import { type FieldNames, inClientsNames } from "./field-names";
import { merge } from "./merge";

export interface ChoiceChunk {
  /** Position in the answer's `choices`. */
  readonly index: number;
  readonly chunk: GenerationChunk;
}

export interface ChoicesRequest {
  readonly prompts: readonly Prompt[];
  /** Choices per prompt. With a seed, choice i of each prompt uses seed + i: where a prompt stands does not matter. */
  readonly n: number;
  readonly params: GenerateParams;
  readonly names: FieldNames;
}

/** What a choice's chunks add up to. */
export type ChoiceResult = Omit<GenerationResult, "usage">;

/** Enough for a mark and the white space behind it, whatever tokens it consists of. */
const promptEndTokens = 16;

interface RunningChoice {
  readonly generation: Generation;
  readonly meter: GenerationMeter;
}

/**
 * The generations of one request, side by side: prompts x n, those of one prompt next to each other. They succeed together:
 * the first failure, or an abort of the controller, aborts all and is thrown (for an abort: the signal's reason).
 */
export class Choices {
  readonly #model: LanguageModel;
  readonly #running: RunningChoice[] = [];
  readonly #controller: AbortController;
  readonly #n: number;
  readonly #names: FieldNames;
  #completionTokens = 0;

  /** Throws what `model.generate` throws; 400 for more generations than could ever wait at once. */
  constructor(
    model: LanguageModel,
    request: ChoicesRequest,
    controller: AbortController,
    observer: GenerationObserver,
  ) {
    this.#model = model;
    this.#controller = controller;
    this.#n = request.n;
    this.#names = request.names;
    const count = request.prompts.length * request.n;
    const { maxQueue } = model.info;
    if (count > maxQueue) {
      const message = `${request.prompts.length} prompts with ${request.n} choices each are ${count} generations; at most ${maxQueue} can wait here`;
      throw new HttpError(400, message, { param: request.n > 1 ? "n" : "prompt" });
    }
    observer.requested(request.n, request.params);
    try {
      for (const prompt of request.prompts) {
        for (let i = 0; i < request.n; i++) {
          const params = { ...request.params, signal: controller.signal };
          if (params.seed !== undefined) params.seed = BigInt(params.seed) + BigInt(i);
          this.#running.push({ generation: model.generate(prompt, params), meter: observer.generation() });
        }
      }
    } catch (error) {
      throw this.#fail(error);
    }
  }

  get promptCount(): number {
    return this.#running.length / this.#n;
  }

  get count(): number {
    return this.#running.length;
  }

  /** What a choice has taken and given so far; its prompt is known once its first chunk has come. */
  usageOf(index: number, completionTokens: number): Usage {
    const { promptTokens, cachedTokens, drafts } = this.#running[index]!.generation;
    return { promptTokens, completionTokens, cachedTokens, ...(drafts && { drafts }) };
  }

  /** The prompt that a choice continues, as the model got it; known once its first chunk has come. */
  promptTokenIds(index: number): readonly number[] {
    return this.#running[index]!.generation.promptTokenIds;
  }

  /** The last characters of the prompt that a choice continues; known once its first chunk has come. */
  promptEnd(index: number): string {
    const ids = this.promptTokenIds(index);
    return ids.length === 0 ? "" : this.#model.detokenize(ids.slice(-promptEndTokens));
  }

  promptTokenIdsOf(prompt: number): readonly number[] {
    return this.promptTokenIds(prompt * this.#n);
  }

  /** Complete once the choices are. A prompt counts once, whatever n is. */
  get usage(): Usage {
    let [promptTokens, cachedTokens] = [0, 0];
    let drafts: Usage["drafts"];
    for (const { generation } of this.#running) drafts = sumOfDrafts(drafts, generation.drafts);
    for (let i = 0; i < this.#running.length; i += this.#n) {
      promptTokens += this.#running[i]!.generation.promptTokens;
      cachedTokens += this.#running[i]!.generation.cachedTokens;
    }
    return { promptTokens, completionTokens: this.#completionTokens, cachedTokens, ...(drafts && { drafts }) };
  }

  /** The whole of each choice. */
  async results(): Promise<ChoiceResult[]> {
    const wholes = this.#running.map(() => new Whole());
    for await (const { index, chunk } of this.chunks()) wholes[index]!.add(chunk);
    return wholes.map((whole) => whole.result());
  }

  /** Chunks of all choices in the order they come; slow readers slow them down. Leaving early aborts what still runs. */
  chunks(): AsyncGenerator<ChoiceChunk> {
    if (this.#running.length === 1) return this.#read(this.#running[0]!, 0);
    const sources = this.#running.map((choice, index) => this.#read(choice, index));
    return merge(sources, () => this.#controller.abort(endedEarly()));
  }

  async *#read({ generation, meter }: RunningChoice, index: number): AsyncGenerator<ChoiceChunk> {
    let ending: Parameters<GenerationMeter["ended"]>[0] = "abort";
    try {
      for await (const chunk of generation) {
        if (chunk.finishReason === "abort") throw endedEarly();
        ending = chunk.finishReason ?? ending;
        this.#completionTokens += chunk.tokenIds.length;
        meter.received(chunk.tokenIds.length, generation);
        yield { index, chunk };
      }
    } catch (error) {
      if (!this.#controller.signal.aborted) ending = "error";
      throw this.#fail(error);
    } finally {
      meter.ended(ending);
      if (ending === "abort") this.#controller.abort(endedEarly());
    }
  }

  /** Aborts the rest and returns the error to throw: the reason of the first abort wins over what followed from it. */
  #fail(error: unknown): unknown {
    this.#controller.abort(inClientsNames(error, this.#names));
    return this.#controller.signal.reason;
  }
}

const endedEarly = () => new EngineError("ERR_ABORTED", "the generation was ended before it was complete");

class Whole {
  #text = "";
  readonly #tokenIds: number[] = [];
  #logprobs: TokenLogprob[] | null = null;
  #promptLogprobs: readonly PromptLogprob[] | undefined;
  #finishReason: FinishReason = "abort";

  add({ text, tokenIds, logprobs, promptLogprobs, finishReason }: GenerationChunk): void {
    this.#promptLogprobs ??= promptLogprobs;
    this.#text += text;
    this.#tokenIds.push(...tokenIds);
    if (logprobs !== null) {
      this.#logprobs ??= [];
      this.#logprobs.push(...logprobs);
    }
    this.#finishReason = finishReason ?? this.#finishReason;
  }

  result(): ChoiceResult {
    return {
      text: this.#text,
      tokenIds: this.#tokenIds,
      logprobs: this.#logprobs,
      ...(this.#promptLogprobs === undefined ? {} : { promptLogprobs: this.#promptLogprobs }),
      finishReason: this.#finishReason,
    };
  }
}
