import { fileError, isObject, type JsonObject } from "./tokenizer-files";

/** Longest text that a step may put in the place of another, or before it: each space of a prompt can become it. */
const MAX_INSERTED_CHARS = 16;

/**
 * Refuses normalizers and pre-tokenizers under which a short prompt becomes a long one, which would hold up the event loop.
 *
 * @throws EngineError ERR_TOKENIZER
 */
export function checkInsertions({ normalizer, pre_tokenizer }: JsonObject, path: string): void {
  const visit = (step: unknown, where: string): void => {
    if (!isObject(step)) return;
    for (const key of ["replacement", "content", "prepend"]) {
      const text = step[key];
      if (typeof text !== "string" || text.length <= MAX_INSERTED_CHARS) continue;
      throw fileError(path, `${where}: ${key} has ${text.length} characters, more than ${MAX_INSERTED_CHARS}`);
    }
    for (const steps of [step.normalizers, step.pretokenizers]) {
      if (Array.isArray(steps)) for (const inner of steps) visit(inner, where);
    }
  };
  visit(normalizer, "normalizer");
  visit(pre_tokenizer, "pre_tokenizer");
}

/**
 * The decoder of a tokenizer.json, checked: a Sequence of one is that one, which the library treats better.
 *
 * @throws EngineError ERR_TOKENIZER for steps that are no objects, and for decoders under which text does not only grow.
 */
export function textDecoder(decoder: unknown, path: string): unknown {
  if (!isObject(decoder)) return decoder;
  const steps = decoder.decoders;
  if (decoder.type === "Sequence" && Array.isArray(steps)) {
    const known = steps.map((step, index) => {
      if (!isObject(step)) throw fileError(path, `decoders[${index}] must be an object`);
      return textDecoder(step, path);
    });
    return known.length === 1 ? known[0] : decoder;
  }
  if (decoder.type === "CTC") throw fileError(path, "a CTC decoder is for speech, not for generated text");
  return decoder;
}
