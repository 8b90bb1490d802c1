// Random batches in the deterministic mode, each answer compared with the request alone:
//   npm run bench:deterministic -- [--device cuda] [--batches 1000] [--wide] [NAME ...]
// NAME: goldens with their weights; with --wide a few layers of published geometries with random weights.
import { parseArgs } from "node:util";
import { type BatchesOptions, checkBatches } from "../test/helpers/deterministic-batches";
import { goldens } from "../test/helpers/golden";
import { shallowModels, withShallowModel } from "../test/helpers/shallow-model";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "cpu" },
    batches: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    wide: { type: "boolean", default: false },
  },
});

async function main(): Promise<void> {
  const usual = values.wide
    ? Object.keys(shallowModels)
    : ["mamba2", "granitemoehybrid", "nemotron_h_moe", "qwen3_next"];
  const options: BatchesOptions = {
    ...{ device: values.device === "cuda" ? "cuda" : "cpu", dtype: "bfloat16" },
    ...{ batches: Number(values.batches), seed: Number(values.seed) },
  };
  for (const name of positionals.length > 0 ? positionals : usual) {
    const begin = performance.now();
    const met = values.wide
      ? await withShallowModel(name, (dir) => checkBatches(dir, { ...options, loadFormat: "dummy" }))
      : await checkBatches(goldens.find((golden) => golden.name === name)!.modelDir, options);
    const seconds = ((performance.now() - begin) / 1e3).toFixed(1);
    process.stdout.write(`${JSON.stringify({ bench: "deterministic", name, ...options, ...met, seconds })}\n`);
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
