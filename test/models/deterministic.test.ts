import { testDevices } from "../helpers/backends";
import { checkBatches } from "../helpers/deterministic-batches";
import { goldens } from "../helpers/golden";
import { shallowModels, withShallowModel } from "../helpers/shallow-model";

const device = testDevices[0]!;
/** `npm run bench:deterministic` takes more. */
const BATCHES = 12;

const options = { device, dtype: "bfloat16", batches: BATCHES, seed: 1 } as const;

const families = ["mamba2", "bamba", "granitemoehybrid", "nemotron_h_moe", "qwen3_next"];

test.each(families)("%s: a request has the same bits alone and in any batch", async (name) => {
  const { modelDir } = goldens.find((golden) => golden.name === name)!;
  const met = await checkBatches(modelDir, options);
  expect(met.answers).toBeGreaterThan(BATCHES);
  expect(met.cachedTokens).toBeGreaterThan(0);
  expect(met.preemptions).toBeGreaterThan(0);
});

// On a GPU the kernels go by widths that goldens are too small for; on a CPU there is one for all, and these take long.
(device === "cuda" ? describe : describe.skip)("of published widths", () => {
  test.each(Object.keys(shallowModels))("%s: the same", (name) =>
    withShallowModel(name, async (dir) => {
      const met = await checkBatches(dir, { ...options, loadFormat: "dummy" });
      expect(met.answers).toBeGreaterThan(BATCHES);
    }),
  );
});
