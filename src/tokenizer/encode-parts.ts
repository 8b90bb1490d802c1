import type { Tokenizer } from "tokenizers";

const options = { addSpecialTokens: false };

/** The ids of the parts of a text, one after the other; computed on threads of Node's pool. */
export async function encodeParts(tokenizer: Tokenizer, parts: readonly string[]): Promise<number[]> {
  if (parts.length === 1) return (await tokenizer.encode(parts[0]!, null, options)).getIds();
  const encodings = await tokenizer.encodeBatch(
    parts.filter((part) => part !== ""),
    options,
  );
  return encodings.flatMap((encoding) => encoding.getIds());
}
