import { EngineError } from "../errors";
import type { EngineConfig } from "./config";
import { Engine } from "./engine";
import type { ModelRunner } from "./model-runner";
import type { EngineRequest } from "./request";

const ROUNDS = 3;
const NEW_TOKENS = 16;

/**
 * Sends a few short requests through a loop of their own, so that Node.js has compiled and the device has loaded what the first
 * request of a user needs. States are left behind, which the first chunk of a request overwrites.
 */
export async function rehearse(runner: ModelRunner, config: EngineConfig): Promise<void> {
  const engine = new Engine(runner, config, () => {});
  const prompt = [0, 0];
  const maxTokens = Math.min(NEW_TOKENS, config.maxModelLen - prompt.length);
  if (maxTokens < 1) return;
  for (let round = 0; round < ROUNDS; round++) {
    const request = (id: string, sampling: Partial<EngineRequest["sampling"]>): EngineRequest => ({
      id,
      prompt,
      maxTokens,
      stopTokenIds: new Set(),
      sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n, ...sampling },
      logprobs: null,
      priority: 0,
    });
    const requests = [request("greedy", {})];
    if (config.maxNumSeqs > 1) requests.push(request("drawn", { temperature: 1, topP: 0.9 }));
    await Promise.all(
      requests.map(async (each) => {
        try {
          for await (const _ of engine.submit(each));
        } catch (error) {
          // Weights that give no finite logits are told to whoever sends a request.
          if (!EngineError.is(error) || error.code !== "ERR_NON_FINITE") throw error;
        }
      }),
    );
  }
  await engine.close();
}
