import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadModelConfig } from "../../../src/models/config";
import { configFacts } from "../../helpers/config-facts";

const goldens = join(__dirname, "../../golden");
const f32 = { conv: 4, ssm: 4, kv: 4 };

/** Elements of all tensors of a safetensors file but `skipped`, by its header alone. */
function elementsOf(path: string, skipped: string | null): number {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + length)) as Record<string, { shape?: number[] }>;
  return Object.entries(header).reduce(
    (sum, [name, { shape }]) => (name === skipped ? sum : sum + (shape?.reduce((product, n) => product * n, 1) ?? 0)),
    0,
  );
}

const folders = readdirSync(goldens).filter((name) => existsSync(join(goldens, name, "config.json")));

test.each(folders)("%s has as many parameters as its config says", (name) => {
  const dir = join(goldens, name);
  const config = loadModelConfig(dir);
  const { parameters } = configFacts(config, f32);
  // A file may have a head of its own where the config says tied.
  const skipped = config.tieWordEmbeddings ? "lm_head.weight" : null;
  expect(parameters.total).toBe(elementsOf(join(dir, "model.safetensors"), skipped));
  const { total, active, ...parts } = parameters;
  expect(Object.values(parts).reduce((sum, count) => sum + count, 0)).toBe(total);
  expect(active).toBeLessThanOrEqual(total);
});
