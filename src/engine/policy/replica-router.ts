/** One engine of several that run the same model. */
export interface Replica {
  /** Whether it takes requests. */
  readonly isReady: boolean;
  /** What it has to do before a new request gets its first token, in tokens of prompts. */
  readonly backlog: number;
}

export interface Choice {
  /** Index of the replica. */
  readonly replica: number;
  /** Tokens of the prompt that it has to compute. */
  readonly work: number;
}

export interface RouterLimits {
  /** Tokens of a block; beginnings of prompts are remembered in whole ones. */
  readonly blockSize: number;
  /** Blocks that are remembered; the ones that came up last stay. */
  readonly maxBlocks: number;
}

export const defaultRouterLimits: RouterLimits = { blockSize: 64, maxBlocks: 200_000 };

/** Above it a replica would have no bit of its own in a block's set. */
export const MAX_REPLICAS = 30;

/**
 * Chooses where a request is computed soonest: the work that a replica has, and what it would have to compute of the prompt, which is
 * less where one that begins alike was computed before. It remembers what it sent where, and does not know what a replica's cache has
 * dropped since: a wrong guess costs time and nothing else.
 */
export class ReplicaRouter {
  /** Replicas that computed a block, as bits, by the hash of all tokens up to its end; the ones used last are at the end. */
  private readonly blocks = new Map<number, number>();

  constructor(private readonly limits: RouterLimits = defaultRouterLimits) {}

  /** Among those that are ready, null where none is. The order of `replicas` never changes. */
  choose(prompt: readonly number[], salt: string, replicas: readonly Replica[]): Choice | null {
    const hashes = blockHashes(prompt, salt, this.limits.blockSize);
    let best: Choice | null = null;
    let least = Infinity;
    for (const [replica, { isReady, backlog }] of replicas.entries()) {
      const work = prompt.length - this.known(hashes, replica) * this.limits.blockSize;
      if (!isReady || backlog + work >= least) continue;
      best = { replica, work };
      least = backlog + work;
    }
    if (best !== null) this.remember(hashes, 1 << best.replica);
    return best;
  }

  /** A replica has begun anew and knows nothing. */
  forget(replica: number): void {
    for (const [hash, bits] of this.blocks) {
      const others = bits & ~(1 << replica);
      if (others === 0) this.blocks.delete(hash);
      else this.blocks.set(hash, others);
    }
  }

  /** How many of the first blocks a replica has computed. */
  private known(hashes: readonly number[], replica: number): number {
    const missing = hashes.findIndex((hash) => ((this.blocks.get(hash) ?? 0) & (1 << replica)) === 0);
    return missing < 0 ? hashes.length : missing;
  }

  private remember(hashes: readonly number[], bit: number): void {
    for (const hash of hashes) {
      const bits = this.blocks.get(hash) ?? 0;
      this.blocks.delete(hash);
      this.blocks.set(hash, bits | bit);
    }
    for (const hash of this.blocks.keys()) {
      if (this.blocks.size <= this.limits.maxBlocks) break;
      this.blocks.delete(hash);
    }
  }
}

/** A hash of all tokens before the end of each whole block but of the prompt's last token, which is always computed. */
function blockHashes(prompt: readonly number[], salt: string, blockSize: number): number[] {
  const hashes: number[] = [];
  // Two of 32 bits, of which 53 bits are used: one in 2^53 pairs of beginnings is taken for the same.
  let [a, b] = [0x811c9dc5, 0x9e3779b9];
  const mix = (value: number) => {
    a = Math.imul(a ^ value, 0x01000193);
    b = Math.imul(b ^ value, 0x85ebca6b);
    b ^= b >>> 13;
  };
  for (let i = 0; i < salt.length; i++) mix(salt.charCodeAt(i));
  for (let i = 0; i < prompt.length - 1; i++) {
    mix(prompt[i]!);
    if ((i + 1) % blockSize === 0) hashes.push((a >>> 11) * 2 ** 32 + (b >>> 0));
  }
  return hashes;
}
