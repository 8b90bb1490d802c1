import { fileError, isObject } from "./tokenizer-files";

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
