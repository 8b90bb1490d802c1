import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const presets = join(__dirname, "../../bench/models");

/** A few layers of each kind of a published geometry: ops of real widths, for random weights. */
export const shallowModels: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "mamba-codestral-7b": { num_hidden_layers: 2 },
  "nemotron-3-nano-30b-a3b": { num_hidden_layers: 5, hybrid_override_pattern: "ME*ME" },
  "qwen3.5-9b": {
    num_hidden_layers: 4,
    eos_token_id: 2,
    layer_types: [...new Array<string>(3).fill("linear_attention"), "full_attention"],
  },
};

/** Stands for Infinity, which configs are published with and JSON does not have. */
const INFINITY = '"Infinity"';

/** A published config with other fields, where its text model has them. */
function changed(text: string, fields: object): string {
  const config = JSON.parse(text.replace(/\bInfinity\b/g, INFINITY)) as { text_config?: object };
  const own = config.text_config && { text_config: { ...config.text_config, ...fields } };
  return JSON.stringify(own ? { ...config, ...own } : { ...config, ...fields }).replaceAll(INFINITY, "Infinity");
}

/** Gives the directory of its config.json to `use`, and removes it. */
export async function withShallowModel<T>(name: string, use: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), `${name}-`));
  try {
    const published = readFileSync(join(presets, name, "config.json"), "utf8");
    writeFileSync(join(dir, "config.json"), changed(published, { ...shallowModels[name], vocab_size: 4096 }));
    return await use(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}
