import { EngineError } from "../errors";
import { type Constraint, checkSize } from "../grammar/compile";
import type { TokenConstraint } from "../grammar/constraint";
import { ConstraintCache } from "../grammar/constraint-cache";
import { TokenTrie } from "../grammar/token-trie";
import type { ModelConfig } from "../models/config";
import { Tokenizer } from "../tokenizer/tokenizer";

/**
 * What turns constraints into masks of a model's tokens, throwing ERR_REQUEST for one that cannot be. The tokens are read from
 * the model's directory when the first constraint comes, because the engine's process has no other use for them.
 */
export function constraintCompiler(dir: string, config: ModelConfig): (constraint: Constraint) => TokenConstraint {
  let cache: ConstraintCache | undefined;
  return (constraint) => {
    try {
      checkSize(constraint);
      cache ??= new ConstraintCache(trieOf(dir, config));
      return cache.get(constraint);
    } catch (cause) {
      if (!EngineError.is(cause) || cause.code !== "ERR_REQUEST") throw cause;
      throw new EngineError("ERR_REQUEST", cause.message, { subject: "constraint", cause });
    }
  };
}

function trieOf(dir: string, { vocabSize, eosTokenIds }: ModelConfig): TokenTrie {
  const tokenizer = Tokenizer.load(dir);
  return new TokenTrie({
    size: vocabSize,
    bytes: (id) => tokenizer.tokenBytes(id),
    specialIds: tokenizer.specialIds,
    endIds: [...new Set([...eosTokenIds, ...tokenizer.eosTokenIds])],
  });
}
