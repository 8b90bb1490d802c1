import { Engine, type EngineExtras } from "../../src/engine/engine";
import type { EngineConfig } from "../../src/engine/policy/config";
import {
  type EngineClient,
  type EngineRequest,
  type EngineToken,
  greedyRequest,
} from "../../src/engine/policy/request";
import type { ScheduledBatch } from "../../src/engine/policy/step-plan";
import type { PreparedRunner } from "../../src/engine/prepare-runner";
import type { Rng } from "./rng";

/** Random requests that share beginnings, and an engine that all are sent to, a few at a time. */

export interface Answer {
  readonly tokens: readonly EngineToken[];
  /** How many tokens it had when it was computed from its beginning again, after a preemption. */
  readonly recomputedFrom: readonly number[];
}

const MOST_PROMPT_TOKENS = 900;

/** Prompts that begin like a few documents, and end in their own way; answers of up to `mostTokens`. */
export function requestsOf(vocabSize: number, rng: Rng, count: number, mostTokens = 8): EngineRequest[] {
  const below = (n: number) => Math.floor(rng.next() * n);
  const document = (seed: number) => Array.from({ length: MOST_PROMPT_TOKENS }, (_, i) => (i * seed + 1) % vocabSize);
  const documents = [3, 11].map(document);
  return Array.from({ length: count }, (_, i) => {
    const prompt = [
      ...documents[below(2)]!.slice(0, 1 + below(MOST_PROMPT_TOKENS - 20)),
      ...document(below(90) + 13).slice(0, 1 + below(20)),
    ];
    const request = greedyRequest(`${i}`, prompt, 1 + below(mostTokens));
    const temperature = below(2);
    return {
      ...request,
      ...{ logprobs: 2, priority: below(3), sampling: { ...request.sampling, temperature, seed: BigInt(i) } },
    };
  });
}

/** What each request gets; null where it was aborted. Without `rng` all come at once, and none is aborted. */
export async function serve(
  { runner }: Pick<PreparedRunner, "runner">,
  config: EngineConfig,
  requests: readonly EngineRequest[],
  rng: Rng | null,
  atOnce = 4,
  extras: EngineExtras = {},
) {
  const recomputed = new Map<string, number[]>(requests.map(({ id }) => [id, []]));
  const watched = {
    transfer: runner.transfer.bind(runner),
    step: (batch: ScheduledBatch) => {
      for (const { sequence, start, restoredFrom = -1 } of batch.rows.slice(0, batch.numPrefills)) {
        const begins = start === 0 || restoredFrom >= 0;
        if (begins && sequence.numGenerated > 0) recomputed.get(sequence.id)!.push(sequence.tokens.length);
      }
      return runner.step(batch);
    },
  };
  const engine = new Engine(watched, config, () => {}, extras);
  const answers = new Map<string, Answer | null>();
  const pending = new Set<Promise<void>>();
  for (const request of requests) {
    const leavesAfter = rng !== null && rng.next() < 0.15 ? Math.floor(rng.next() * 3) : Number.POSITIVE_INFINITY;
    const answer = (async () => {
      const tokens: EngineToken[] = [];
      for await (const token of engine.submit(request)) {
        tokens.push(token);
        if (tokens.length > leavesAfter) break;
      }
      const isWhole = tokens.at(-1)!.finishReason !== null;
      answers.set(request.id, isWhole ? { tokens, recomputedFrom: recomputed.get(request.id)! } : null);
    })().finally(() => pending.delete(answer));
    pending.add(answer);
    while (rng !== null && (pending.size > atOnce || (pending.size > 0 && rng.next() < 0.3)))
      await Promise.race(pending);
  }
  await Promise.all(pending);
  await engine.close(); // a step may still have had a row of a request that left
  return { answers, stats: engine.stats() };
}

/** A request's tokens from an engine that has nothing else to do. */
export async function alone(
  { runner }: Pick<PreparedRunner, "runner">,
  config: EngineConfig,
  request: EngineRequest,
  extras: EngineExtras = {},
): Promise<EngineToken[]> {
  const engine = new Engine(runner, config, () => {}, extras);
  const tokens = await tokensOf(engine, request);
  await engine.close();
  return tokens;
}

/** The same, computed again from its beginning where an answer was. */
export async function recomputedAlone(
  prepared: Pick<PreparedRunner, "runner">,
  config: EngineConfig,
  request: EngineRequest,
  recomputedFrom: readonly number[],
  extras: EngineExtras = {},
): Promise<EngineToken[]> {
  const tokens: EngineToken[] = [];
  const whole = request.prompt.length + request.maxTokens;
  for (const end of [...recomputedFrom, whole]) {
    const prompt = [...request.prompt, ...tokens.map(({ id }) => id)];
    const part = { ...request, id: `${request.id} to ${end}`, prompt, maxTokens: end - prompt.length };
    if (part.maxTokens === 0) continue;
    tokens.push(...(await alone(prepared, config, part, extras)));
  }
  return tokens;
}

export async function tokensOf(engine: Pick<EngineClient, "submit">, request: EngineRequest): Promise<EngineToken[]> {
  const tokens: EngineToken[] = [];
  for await (const token of engine.submit(request)) tokens.push(token);
  return tokens;
}

/** What may not differ: ids and log probabilities. */
export const idsAndLogprobs = (tokens: readonly EngineToken[]) => tokens.map(({ id, logprobs }) => ({ id, logprobs }));
