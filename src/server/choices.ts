import { EngineError } from "../errors";
import type {
  GenerateParams,
  Generation,
  GenerationChunk,
  GenerationResult,
  LanguageModel,
  Prompt,
} from "../llm/types";

export interface ChoiceChunk {
  /** Position in the answer's `choices`. */
  readonly index: number;
  readonly chunk: GenerationChunk;
}

interface PendingChunk {
  readonly choice: ChoiceChunk;
  readonly taken: () => void;
}

export interface ChoicesRequest {
  readonly prompts: readonly Prompt[];
  /** Choices per prompt. With a seed, choice i of each prompt uses seed + i: where a prompt stands does not matter. */
  readonly n: number;
  readonly params: GenerateParams;
}

/**
 * The generations of one request, side by side: prompts x n, those of one prompt next to each other. They succeed together:
 * the first failure, or an abort of the controller, aborts all and is thrown (for an abort: the signal's reason).
 */
export class Choices {
  readonly #generations: Generation[] = [];
  readonly #controller: AbortController;
  readonly #n: number;
  #completionTokens = 0;

  /** Throws what `model.generate` throws. */
  constructor(model: LanguageModel, request: ChoicesRequest, controller: AbortController) {
    this.#controller = controller;
    this.#n = request.n;
    try {
      for (const prompt of request.prompts) {
        for (let i = 0; i < request.n; i++) {
          const params = { ...request.params, signal: controller.signal };
          if (params.seed !== undefined) params.seed = BigInt(params.seed) + BigInt(i);
          this.#generations.push(model.generate(prompt, params));
        }
      }
    } catch (error) {
      throw this.#fail(error);
    }
  }

  get count(): number {
    return this.#generations.length;
  }

  /** Complete once the choices are. A prompt counts once, whatever n is. */
  get usage(): { promptTokens: number; completionTokens: number } {
    let promptTokens = 0;
    for (let i = 0; i < this.#generations.length; i += this.#n) promptTokens += this.#generations[i]!.promptTokens;
    return { promptTokens, completionTokens: this.#completionTokens };
  }

  async results(): Promise<GenerationResult[]> {
    try {
      const results = await Promise.all(this.#generations);
      for (const { finishReason, usage } of results) {
        if (finishReason === "abort") throw endedEarly();
        this.#completionTokens += usage.completionTokens;
      }
      return results;
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /**
   * Chunks of all choices in the order they come. Each generation waits until its chunk is taken, so that a slow client does
   * not fill the memory. Leaving the loop early aborts what still runs.
   */
  async *chunks(): AsyncGenerator<ChoiceChunk> {
    let ready: PendingChunk[] = [];
    let running = this.#generations.length;
    let failure: { readonly error: unknown } | undefined;
    let wake = () => {};
    let abandoned = false;

    const pump = async (generation: Generation, index: number) => {
      try {
        for await (const chunk of generation) {
          if (chunk.finishReason === "abort") throw endedEarly();
          this.#completionTokens += chunk.tokenIds.length;
          await new Promise<void>((taken) => {
            ready.push({ choice: { index, chunk }, taken });
            wake();
          });
          if (abandoned) break;
        }
      } catch (error) {
        failure ??= { error: this.#fail(error) };
      }
      running--;
      wake();
    };
    this.#generations.forEach(pump);

    let batch: PendingChunk[] = [];
    try {
      while (running > 0 && failure === undefined) {
        if (ready.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        batch = ready;
        ready = [];
        for (const { choice } of batch) yield choice;
        for (const { taken } of batch) taken();
      }
      if (failure !== undefined) throw failure.error;
    } finally {
      abandoned = true;
      if (running > 0) this.#controller.abort(endedEarly());
      for (const { taken } of [...batch, ...ready]) taken();
    }
  }

  /** Aborts the rest and returns the error to throw: the reason of the first abort wins over what followed from it. */
  #fail(error: unknown): unknown {
    this.#controller.abort(error);
    return this.#controller.signal.reason;
  }
}

const endedEarly = () => new EngineError("ERR_ABORTED", "the generation was ended before it was complete");
