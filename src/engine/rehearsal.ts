import { EngineError } from "../errors";
import { Engine } from "./engine";
import type { EngineConfig } from "./policy/config";
import { greedyRequest } from "./policy/request";
import type { Runner } from "./runner";

const ROUNDS = 3;
const NEW_TOKENS = 16;

/**
 * Sends a few short requests through a loop of their own, so that Node.js has compiled and the device has loaded what the first
 * request of a user needs. States are left behind, which the first chunk of a request overwrites.
 */
export async function rehearse(runner: Runner, config: EngineConfig): Promise<void> {
  const engine = new Engine(runner, config, () => {});
  const prompt = [0, 0];
  const maxTokens = Math.min(NEW_TOKENS, config.maxModelLen - prompt.length);
  if (maxTokens < 1) return;
  for (let round = 0; round < ROUNDS; round++) {
    const greedy = greedyRequest("greedy", prompt, maxTokens);
    const drawn = { ...greedy, id: "drawn", sampling: { ...greedy.sampling, temperature: 1, topP: 0.9 } };
    const requests = config.maxNumSeqs > 1 ? [greedy, drawn] : [greedy];
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
