import { copyFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readSafetensorsHeader } from "../../src/weights/safetensors";
import { Golden, goldens } from "./golden";

/** A golden's model with a head of multi-token prediction, and what a reference computes with it (test/golden/README.md). */
export interface MtpGolden {
  readonly name: string;
  readonly golden: Golden;
  readonly reference: Golden;
  /** Both in one directory, as a checkpoint is published; under `parent`, which is the caller's to remove. */
  write(parent: string): string;
}

const folder = join(__dirname, "..", "golden", "mtp");

const withHead = (name: string): MtpGolden => {
  const golden = goldens.find((each) => each.name === name)!;
  const head = join(folder, `${name}.safetensors`);
  return {
    name,
    golden,
    reference: new Golden(name, golden.modelDir, head),
    write(parent) {
      const dir = mkdtempSync(join(parent, `${name}-`));
      const config = JSON.parse(
        readFileSync(join(golden.modelDir, "config.json"), "utf8").replaceAll("Infinity", "1e30"),
      );
      if (name.startsWith("nemotron")) config.num_nextn_predict_layers = 1;
      writeFileSync(join(dir, "config.json"), JSON.stringify(config));
      const files = { "main.safetensors": join(golden.modelDir, "model.safetensors"), "mtp.safetensors": head };
      const names = Object.entries(files).flatMap(([file, source]) => {
        copyFileSync(source, join(dir, file));
        const tensors = [...readSafetensorsHeader(source).tensors.keys()];
        const own = file === "mtp.safetensors" ? tensors.filter((each) => each.startsWith("mtp.")) : tensors;
        return own.map((each) => [each, file]);
      });
      const index = { metadata: {}, weight_map: Object.fromEntries(names) };
      writeFileSync(join(dir, "model.safetensors.index.json"), JSON.stringify(index));
      return dir;
    },
  };
};

/** A family each: experts stored one by one and beside each other, none, and another form of head. */
export const mtpGoldens = ["qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "nemotron_h_moe"].map(withHead);
