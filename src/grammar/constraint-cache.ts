import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { stringifyJson } from "../json/stringify";
import { type Constraint, checkSize, compileConstraint } from "./compile";
import type { TokenConstraint } from "./constraint";
import type { TokenTrie } from "./token-trie";

const CACHE_BYTES = 64 << 20;

/** Compiled constraints of one model, those used last. */
export class ConstraintCache {
  private readonly compiled: LRUCache<string, TokenConstraint>;

  constructor(
    private readonly trie: TokenTrie,
    bytes = CACHE_BYTES,
  ) {
    this.compiled = new LRUCache({ maxSize: bytes, sizeCalculation: (constraint) => constraint.bytes });
  }

  /** @throws EngineError ERR_REQUEST as compileConstraint does. */
  get(constraint: Constraint): TokenConstraint {
    checkSize(constraint);
    const key = createHash("sha256").update(stringifyJson(constraint)).digest("base64");
    let compiled = this.compiled.get(key);
    if (compiled === undefined) {
      compiled = compileConstraint(constraint, this.trie);
      this.compiled.set(key, compiled);
    }
    return compiled;
  }
}
