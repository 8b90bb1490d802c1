import { z } from "zod";
import { flag, orElse, text } from "./fields";
import type { MlpGeometry, MoeGeometry } from "./geometry";
import { type ConfigFile, isPresent } from "./json-file";
import { type QwenHybridConfig, readQwenHybrid, readQwenMlp, readQwenMoe } from "./qwen3-next";

/** Qwen3.5 and its successors: the text model, whether it is published alone or inside a model of text and images. */
export interface Qwen35Config extends QwenHybridConfig {
  readonly modelType: "qwen3_5";
  readonly mlp: MlpGeometry;
}

export interface Qwen35MoeConfig extends QwenHybridConfig {
  readonly modelType: "qwen3_5_moe";
  readonly moe: MoeGeometry;
}

/** transformers' Qwen3_5TextConfig, or a Qwen3_5Config with one inside. */
export function readQwen35(root: ConfigFile): Qwen35Config {
  const file = textOf(root);
  return { modelType: "qwen3_5", ...readQwenHybrid(root, file), mlp: readQwenMlp(file) };
}

/** transformers' Qwen3_5MoeTextConfig, or a Qwen3_5MoeConfig with one inside. Its router always normalises. */
export function readQwen35Moe(root: ConfigFile): Qwen35MoeConfig {
  const file = textOf(root);
  return { modelType: "qwen3_5_moe", ...readQwenHybrid(root, file), moe: readQwenMoe(file, true) };
}

/** Options of the text model that no class of transformers has, but published files name and other engines read. */
const gateSchema = z.object({
  attn_output_gate: orElse(flag(), true),
  output_gate_type: orElse(text(), "swish"),
});

function textOf(root: ConfigFile): ConfigFile {
  const nested = isPresent(root.value.text_config);
  const file = (nested ? root.under("text_config") : root).respelled({
    mamba_ssm_cache_dtype: ["mamba_ssm_cache_dtype", "mamba_ssm_dtype"],
  });
  const gates = file.fields(gateSchema);
  if (!gates.attn_output_gate) file.unsupported("attn_output_gate", "true");
  if (gates.output_gate_type !== "swish" && gates.output_gate_type !== "silu") {
    file.unsupported("output_gate_type", "swish or silu");
  }
  return file;
}
