/** Seeded random numbers (xoshiro128**): the same seed gives the same values on every machine. */

// Jest looks a global up ten times slower than a local, and these loops run a billion times.
const { cos, floor, imul, log, sin, sqrt } = Math;
// A pool to draw normals from: several times faster than computing each, for inputs of a hundred million elements.
const poolBits = 16;
let pool: Float32Array | undefined;

function normalPool(): Float32Array {
  if (pool) return pool;
  const rng = new Rng(0x5eed);
  pool = new Float32Array(1 << poolBits);
  for (let i = 0; i < pool.length; i += 2) {
    const radius = sqrt(-2 * log(1 - rng.next()));
    const angle = 2 * Math.PI * rng.next();
    pool[i] = radius * cos(angle);
    pool[i + 1] = radius * sin(angle);
  }
  return pool;
}

export class Rng {
  private readonly s = new Uint32Array(4);

  constructor(seed: number) {
    // splitmix32 spreads the seed over the state.
    let z = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      z = (z + 0x9e3779b9) >>> 0;
      let t = imul(z ^ (z >>> 16), 0x21f0aaad);
      t = imul(t ^ (t >>> 15), 0x735a2d97);
      this.s[i] = t ^ (t >>> 15);
    }
  }

  /** 32 random bits. */
  bits(): number {
    const s = this.s;
    const a = imul(s[1]!, 5);
    const result = imul((a << 7) | (a >>> 25), 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = (s[3]! << 11) | (s[3]! >>> 21);
    return result;
  }

  /** In [0, 1). */
  next(): number {
    return this.bits() / 2 ** 32;
  }

  /** A whole number in [low, high]. */
  integer(low: number, high: number): number {
    return low + floor(this.next() * (high - low + 1));
  }

  uniform(count: number, low = 0, high = 1): Float32Array {
    return Float32Array.from({ length: count }, () => low + (high - low) * this.next());
  }

  normal(count: number, mean = 0, deviation = 1): Float32Array {
    const values = normalPool();
    const out = new Float32Array(count);
    for (let i = 0; i < count; i++) out[i] = mean + deviation * values[this.bits() >>> (32 - poolBits)]!;
    return out;
  }

  /** 0..count-1 in random order. */
  permutation(count: number): number[] {
    const order = Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.integer(0, i);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}
