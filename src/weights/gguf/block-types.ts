import { fromBits } from "../float-bits";

/**
 * Quantized rows: of each `group` elements, value = scale * code + offset, with codes that are integers of 8 bits. ggml's blocks
 * of 32 and superblocks of 256 elements all become this without loss, but for what `kept` says.
 */
export interface CodedRows {
  readonly codes: Int8Array;
  readonly scales: Float32Array;
  /** As many as scales; all 0 where the type has none. */
  readonly offsets: Float32Array;
}

export interface BlockType {
  /** Elements that share a scale. */
  readonly group: number;
  /**
   * What kernels read of it: the codes as they are, with scales in f32 (i8) or with scales and offsets rounded to f16 (u4). null
   * where none has such codes, of five bits or in groups of 16 with an offset: then rows are widened to floats.
   */
  readonly kept: "i8" | "u4" | null;
  /** The block at `at` becomes elements from `element` on. */
  decode(raw: Buffer, at: number, rows: CodedRows, element: number): void;
}

/** Values of all f16. */
const halves = fromBits(Uint16Array.from({ length: 65_536 }, (_, bits) => bits).buffer, "f16");

const half = (raw: Buffer, at: number): number => halves[raw[at]! | (raw[at + 1]! << 8)]!;

/** 16 bytes: elements 0 to 15 in the low halves, 16 to 31 in the high ones. */
function nibbles(raw: Buffer, at: number, codes: Int8Array, element: number, zero: number): void {
  for (let i = 0; i < 16; i++) {
    const byte = raw[at + i]!;
    codes[element + i] = (byte & 15) - zero;
    codes[element + 16 + i] = (byte >> 4) - zero;
  }
}

/** The same with a fifth bit of element i in bit i of the word before. */
function fiveBits(raw: Buffer, at: number, codes: Int8Array, element: number, zero: number): void {
  const high = raw.readUInt32LE(at);
  nibbles(raw, at + 4, codes, element, zero);
  for (let i = 0; i < 32; i++) codes[element + i]! += ((high >>> i) & 1) << 4;
}

const q4_0: BlockType = {
  group: 32,
  kept: "u4",
  decode(raw, at, { codes, scales, offsets }, element) {
    const group = element / 32;
    scales[group] = half(raw, at);
    offsets[group] = -8 * scales[group]!;
    nibbles(raw, at + 2, codes, element, 0);
  },
};

const q4_1: BlockType = {
  group: 32,
  kept: "u4",
  decode(raw, at, { codes, scales, offsets }, element) {
    scales[element / 32] = half(raw, at);
    offsets[element / 32] = half(raw, at + 2);
    nibbles(raw, at + 4, codes, element, 0);
  },
};

const q5_0: BlockType = {
  group: 32,
  kept: "i8",
  decode(raw, at, { codes, scales }, element) {
    scales[element / 32] = half(raw, at);
    fiveBits(raw, at + 2, codes, element, 16);
  },
};

const q5_1: BlockType = {
  group: 32,
  kept: null,
  decode(raw, at, { codes, scales, offsets }, element) {
    scales[element / 32] = half(raw, at);
    offsets[element / 32] = half(raw, at + 2);
    fiveBits(raw, at + 4, codes, element, 0);
  },
};

const q8_0: BlockType = {
  group: 32,
  kept: "i8",
  decode(raw, at, { codes, scales }, element) {
    scales[element / 32] = half(raw, at);
    for (let i = 0; i < 32; i++) codes[element + i] = raw[at + 2 + i]!;
  },
};

/** Scales and offsets of a superblock: d and dmin, then for each of eight groups of 32 a factor of six bits of either. */
function sixBitScales(raw: Buffer, at: number, { scales, offsets }: CodedRows, element: number): void {
  const d = half(raw, at);
  const min = half(raw, at + 2);
  const packed = at + 4;
  for (let i = 0; i < 8; i++) {
    const [low, high] =
      i < 4
        ? [raw[packed + i]! & 63, raw[packed + i + 4]! & 63]
        : [
            (raw[packed + i + 4]! & 15) | ((raw[packed + i - 4]! >> 6) << 4),
            (raw[packed + i + 4]! >> 4) | ((raw[packed + i]! >> 6) << 4),
          ];
    scales[element / 32 + i] = d * low;
    offsets[element / 32 + i] = -min * high;
  }
}

const q4_k: BlockType = {
  group: 32,
  kept: "u4",
  decode(raw, at, rows, element) {
    sixBitScales(raw, at, rows, element);
    const { codes } = rows;
    for (let i = 0; i < 128; i++) {
      const byte = raw[at + 16 + i]!;
      const target = element + 64 * (i >> 5) + (i & 31);
      codes[target] = byte & 15;
      codes[target + 32] = byte >> 4;
    }
  },
};

const q5_k: BlockType = {
  group: 32,
  kept: null,
  decode(raw, at, rows, element) {
    sixBitScales(raw, at, rows, element);
    const { codes } = rows;
    for (let i = 0; i < 128; i++) {
      const byte = raw[at + 48 + i]!;
      const high = raw[at + 16 + (i & 31)]! >> (2 * (i >> 5));
      const target = element + 64 * (i >> 5) + (i & 31);
      codes[target] = (byte & 15) | ((high & 1) << 4);
      codes[target + 32] = (byte >> 4) | ((high & 2) << 3);
    }
  },
};

/** Low four bits, high two bits, a factor of eight bits for each 16, d. */
const q6_k: BlockType = {
  group: 16,
  kept: "i8",
  decode(raw, at, { codes, scales }, element) {
    const d = half(raw, at + 208);
    for (let i = 0; i < 16; i++) scales[element / 16 + i] = d * raw.readInt8(at + 192 + i);
    for (let part = 0; part < 2; part++) {
      for (let i = 0; i < 32; i++) {
        const low = at + 64 * part + i;
        const high = raw[at + 128 + 32 * part + i]!;
        const target = element + 128 * part + i;
        codes[target] = ((raw[low]! & 15) | ((high & 3) << 4)) - 32;
        codes[target + 32] = ((raw[low + 32]! & 15) | (((high >> 2) & 3) << 4)) - 32;
        codes[target + 64] = ((raw[low]! >> 4) | (((high >> 4) & 3) << 4)) - 32;
        codes[target + 96] = ((raw[low + 32]! >> 4) | ((high >> 6) << 4)) - 32;
      }
    }
  },
};

/** Factors of four bits, two bits of each element, d and dmin. */
const q2_k: BlockType = {
  group: 16,
  kept: null,
  decode(raw, at, { codes, scales, offsets }, element) {
    const d = half(raw, at + 80);
    const min = half(raw, at + 82);
    for (let i = 0; i < 16; i++) {
      scales[element / 16 + i] = d * (raw[at + i]! & 15);
      offsets[element / 16 + i] = -min * (raw[at + i]! >> 4);
    }
    for (let i = 0; i < 256; i++) {
      const byte = raw[at + 16 + 32 * (i >> 7) + (i & 31)]!;
      codes[element + i] = (byte >> (2 * ((i >> 5) & 3))) & 3;
    }
  },
};

/** High bits, two low bits of each element, factors of six bits, d. */
const q3_k: BlockType = {
  group: 16,
  kept: "i8",
  decode(raw, at, { codes, scales }, element) {
    const d = half(raw, at + 108);
    const packed = at + 96;
    for (let i = 0; i < 16; i++) {
      const low = (raw[packed + (i & 7)]! >> (4 * (i >> 3))) & 15;
      const high = (raw[packed + 8 + (i & 3)]! >> (2 * (i >> 2))) & 3;
      scales[element / 16 + i] = d * ((low | (high << 4)) - 32);
    }
    for (let i = 0; i < 256; i++) {
      const low = (raw[at + 32 + 32 * (i >> 7) + (i & 31)]! >> (2 * ((i >> 5) & 3))) & 3;
      const high = (raw[at + (i & 31)]! >> (i >> 5)) & 1;
      codes[element + i] = low - (high === 1 ? 0 : 4);
    }
  },
};

/** What codes of four bits stand for in the types with unequal steps (ggml's kvalues_iq4nl). */
const steps = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const iq4_nl: BlockType = {
  group: 32,
  kept: "i8",
  decode(raw, at, { codes, scales }, element) {
    scales[element / 32] = half(raw, at);
    nibbles(raw, at + 2, codes, element, 0);
    for (let i = element; i < element + 32; i++) codes[i] = steps[codes[i]!]!;
  },
};

/** d, then for each of eight groups of 32 a factor of six bits. */
const iq4_xs: BlockType = {
  group: 32,
  kept: "i8",
  decode(raw, at, { codes, scales }, element) {
    const d = half(raw, at);
    const highs = raw.readUInt16LE(at + 2);
    for (let i = 0; i < 8; i++) {
      const low = (raw[at + 4 + (i >> 1)]! >> (4 * (i & 1))) & 15;
      scales[element / 32 + i] = d * ((low | (((highs >> (2 * i)) & 3) << 4)) - 32);
      nibbles(raw, at + 8 + 16 * i, codes, element + 32 * i, 0);
    }
    for (let i = element; i < element + 256; i++) codes[i] = steps[codes[i]!]!;
  },
};

/** By ggml's names. */
export const blockTypes: Readonly<Record<string, BlockType>> = {
  Q4_0: q4_0,
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q8_0: q8_0,
  Q2_K: q2_k,
  Q3_K: q3_k,
  Q4_K: q4_k,
  Q5_K: q5_k,
  Q6_K: q6_k,
  IQ4_NL: iq4_nl,
  IQ4_XS: iq4_xs,
};
