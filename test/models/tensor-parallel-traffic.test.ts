/** Engines on groups of CPU devices, of 2, 3 or 4 ranks: prefix cache, preemption, host tier and guesses change no bit. */
import { openDevices } from "../../src/engine/open-device";
import type { SpeculativeOptions } from "../../src/engine/policy/speculative-config";
import { prepareRunner } from "../../src/engine/prepare-runner";
import { loadRanks } from "../../src/llm/load-ranks";
import { loadModelConfig } from "../../src/models/config";
import { checkBatches } from "../helpers/deterministic-batches";
import { goldens } from "../helpers/golden";
import { idsAndLogprobs, requestsOf, serve } from "../helpers/random-serving";
import { Rng } from "../helpers/rng";
import { free } from "../helpers/slot-scheduler";

const models = goldens
  .filter(({ name }) => name !== "storyteller-6m")
  .map(({ name, modelDir }, i) => ({ name, modelDir, ranks: 2 + (i % 3) }));

describe.each(models)("$name on $ranks ranks", ({ modelDir, ranks }) => {
  test("answers in random batches are those of each request alone", async () => {
    const met = await checkBatches(modelDir, {
      ...{ device: "cpu", dtype: "float32", batches: 2, seed: ranks },
      tensorParallelSize: ranks,
    });
    expect(met.answers).toBeGreaterThan(4);
  });

  test.each<SpeculativeOptions>([
    { method: "ngram", numSpeculativeTokens: 3 },
    { method: "draft_model", model: modelDir, numSpeculativeTokens: 3 },
  ])("answers with guesses by $method are those without", async (speculativeConfig) => {
    const config = loadModelConfig(modelDir);
    const requests = requestsOf(config.vocabSize, new Rng(3), 8, 24);
    const answersOf = async (guesses: { speculativeConfig?: SpeculativeOptions }) => {
      const options = { device: "cpu", threads: 2, dtype: "float32", tensorParallelSize: ranks, ...guesses } as const;
      const sizes = { maxNumSeqs: 4, maxNumBatchedTokens: 512, maxModelLen: 1024, prefixCache: false };
      const devices = openDevices(options);
      const { placed } = await loadRanks(modelDir, config, devices, options);
      const prepared = await prepareRunner(placed, config, { ...sizes, ...guesses });
      const { answers, stats } = await serve(prepared, prepared.config, requests, null, 4, { stepCosts: free });
      for (const device of devices) device.close();
      return { answers: [...answers].map(([id, answer]) => [id, idsAndLogprobs(answer!.tokens)]), stats };
    };
    const guessed = await answersOf({ speculativeConfig });
    expect(new Map(guessed.answers as [string, unknown][])).toEqual(
      new Map((await answersOf({})).answers as [string, unknown][]),
    );
    if (speculativeConfig.method === "draft_model")
      expect(guessed.stats.speculation.acceptedTokens).toBeGreaterThan(20);
  });
});
