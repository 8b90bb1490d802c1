import { EngineError } from "../errors";

/**
 * Tensor names of Mamba-2 checkpoints, of both dialects, in one naming without prefixes:
 *
 *   embeddings.weight   norm_f.weight   lm_head.weight
 *   layers.N.norm.weight
 *   layers.N.mixer.{in_proj,conv1d,out_proj,norm}.weight   layers.N.mixer.{in_proj,conv1d,out_proj}.bias
 *   layers.N.mixer.{A_log,D,dt_bias}
 *
 * Hugging Face writes `backbone.` before all but lm_head; state-spaces writes `backbone.embedding.weight`; Mistral's
 * consolidated files write `model.` before everything. Names that are none of these come back without the prefixes, so
 * that the loader can still show and refuse them.
 */
export function internalName(name: string): string {
  const bare = name.replace(/^model\./, "").replace(/^backbone\./, "");
  return bare === "embedding.weight" ? "embeddings.weight" : bare;
}

/** Internal name to the checkpoint's own. Throws ERR_WEIGHTS if two of the checkpoint's names mean the same tensor. */
export function internalNames(names: Iterable<string>): Map<string, string> {
  const originals = new Map<string, string>();
  for (const name of names) {
    const internal = internalName(name);
    const other = originals.get(internal);
    if (other !== undefined) {
      const message = `expected one tensor for ${internal}, got both "${other}" and "${name}"; remove one of them`;
      throw new EngineError("ERR_WEIGHTS", message, { subject: name });
    }
    originals.set(internal, name);
  }
  return originals;
}
