import { NO_SLOT } from "./state-slots";

/** A block of tokens, after those of its ancestors. A node without a snapshot has children: it leads to one. */
export interface PrefixNode {
  readonly parent: PrefixNode | null;
  /** In the parent, or among the roots: the block's tokens, or the salt. */
  readonly key: string;
  /** Tokens from the beginning to the block's end; 0 for a root. */
  readonly end: number;
  readonly children: Map<string, PrefixNode>;
  /** Pages of the KV caches that hold the block. */
  readonly pages: number[];
  /** The slot of the device that has the state after the block; -1 = none. */
  slot: number;
  /** The slot of the host that has it; -1 = none. */
  hostSlot: number;
}

/**
 * Beginnings of sequences, cut into blocks of `blockSize` tokens: a radix tree whose letters are blocks, with a root for each
 * salt. All places that a state can be kept at are ends of blocks, so no edge is ever split.
 */
export class PrefixTree {
  private readonly roots = new Map<string, PrefixNode>();

  constructor(readonly blockSize: number) {}

  get isEmpty(): boolean {
    return this.roots.size === 0;
  }

  /** The nodes, from the first block on, that hold the whole blocks of the first `upTo` tokens, as far as they are there. */
  find(salt: string, tokens: readonly number[], upTo: number): PrefixNode[] {
    const path: PrefixNode[] = [];
    let node = this.roots.get(salt);
    for (let end = this.blockSize; node !== undefined && end <= upTo; end += this.blockSize) {
      node = node.children.get(keyOf(tokens, end - this.blockSize, end));
      if (node !== undefined) path.push(node);
    }
    return path;
  }

  /** The same nodes; those that are missing are made. What is left without a snapshot is to be pruned. */
  grow(salt: string, tokens: readonly number[], upTo: number): PrefixNode[] {
    const path: PrefixNode[] = [];
    let parent = childOf(this.roots, salt, null, 0);
    for (let end = this.blockSize; end <= upTo; end += this.blockSize) {
      parent = childOf(parent.children, keyOf(tokens, end - this.blockSize, end), parent, end);
      path.push(parent);
    }
    return path;
  }

  /** Removes `node` and its ancestors as far as they lead to no snapshot; each is shown to `removed`. */
  prune(node: PrefixNode, removed: (node: PrefixNode) => void): void {
    for (let at: PrefixNode | null = node; at !== null && !hasState(at) && at.children.size === 0; at = at.parent) {
      (at.parent?.children ?? this.roots).delete(at.key);
      removed(at);
    }
  }
}

export const hasState = ({ slot, hostSlot }: PrefixNode): boolean => slot !== NO_SLOT || hostSlot !== NO_SLOT;

function childOf(siblings: Map<string, PrefixNode>, key: string, parent: PrefixNode | null, end: number): PrefixNode {
  let node = siblings.get(key);
  if (node === undefined) {
    node = { parent, key, end, children: new Map(), pages: [], slot: NO_SLOT, hostSlot: NO_SLOT };
    siblings.set(key, node);
  }
  return node;
}

/** The tokens' own bytes: two blocks have one key only if they are the same. */
const keyOf = (tokens: readonly number[], begin: number, end: number): string =>
  Buffer.from(Int32Array.from(tokens.slice(begin, end)).buffer).toString("latin1");
