import { EngineError } from "../errors";

/** A checkpoint's name of a tensor to the model's; a name that means nothing to the model comes back as it is. */
export type NameRule = (name: string) => string;

/** What transformers calls all but lm_head begins with the decoder's own name. */
export const withoutModel: NameRule = (name) => name.replace(/^model\./, "");

/** The model's names to the checkpoint's own. Throws ERR_WEIGHTS if two of the checkpoint's names mean the same tensor. */
export function renamed(names: Iterable<string>, rule: NameRule): Map<string, string> {
  const originals = new Map<string, string>();
  for (const name of names) {
    const internal = rule(name);
    const other = originals.get(internal);
    if (other !== undefined) {
      const message = `expected one tensor for ${internal}, got both "${other}" and "${name}"; remove one of them`;
      throw new EngineError("ERR_WEIGHTS", message, { subject: name });
    }
    originals.set(internal, name);
  }
  return originals;
}
