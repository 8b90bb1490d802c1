import type { CodeDtype } from "../tensor/dtype";
import { sizeOf } from "../tensor/dtype";
import { type QuantizedDescriptor, wholeMatrix } from "./descriptor";
import { dummySeed, initial } from "./dummy";
import { codeValues } from "./float-bits";

/** How a checkpoint would store a matrix as codes. */
export interface CodesForm {
  readonly codes: CodeDtype;
  /** How many of a row share a scale; null: all of them. */
  readonly group: number | null;
  /** Whether it is made for inputs that are rounded to e4m3 too. */
  readonly quantizeX: boolean;
}

/** Which matrices a checkpoint has as codes, by the model's name of the module that holds the weight; null: floats. */
export type CodesOf = (module: string) => CodesForm | null;

/** Bytes of codes that any byte becomes; of e4m3 those of magnitudes 1 to 1.875, so that none is NaN and few are tiny. */
const byteOf: Readonly<Record<CodeDtype, (random: number) => number>> = {
  u4: (random) => random,
  e2m1: (random) => random,
  i8: (random) => random,
  e4m3: (random) => (random & 0x87) | 0x38,
};

/** A sequence of codes is one of bytes, which repeats after so many. A prime, so that the rows of a matrix still differ. */
const BYTE_PERIOD = 2 ** 20 + 7;

/** A matrix of random codes, whose values have the mean and the deviation of other dummy matrices. */
export function dummyCodes(
  name: string,
  shape: readonly [n: number, k: number],
  { codes, group, quantizeX }: CodesForm,
  seed: number,
): QuantizedDescriptor {
  const [n, k] = shape;
  const share = Math.min(group ?? k, k);
  const groups = Math.ceil(k / share);
  const rowBytes = Math.ceil(k * sizeOf(codes));
  const { mean, scale } = lawOf(codes);
  const start = dummySeed(name, seed) % BYTE_PERIOD;
  return wholeMatrix({
    name,
    codes,
    group: share,
    shape,
    bytes: n * (rowBytes + groups * 2),
    quantizeX,
    read: (_, [begin, end]) => ({
      codes: repeated(sequenceOf(codes), start + begin * rowBytes, (end - begin) * rowBytes),
      scales: new Float32Array((end - begin) * groups).fill(scale),
      offsets: new Float32Array(codes === "u4" ? (end - begin) * groups : 0).fill(-mean * scale),
    }),
  });
}

/** Mean of the codes' meanings, and the scale that gives the values their deviation. */
function lawOf(codes: CodeDtype): { mean: number; scale: number } {
  const meanings = codeValues[codes];
  const drawn = Array.from({ length: 256 }, (_, byte) => meanings[byteOf[codes](byte) % meanings.length]!);
  const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const mean = meanOf(drawn);
  const deviation = Math.sqrt(meanOf(drawn.map((value) => (value - mean) ** 2)));
  return { mean, scale: initial.matrix.law.deviation / deviation };
}

const sequences = new Map<CodeDtype, Uint8Array>();

function sequenceOf(codes: CodeDtype): Uint8Array {
  const known = sequences.get(codes);
  if (known !== undefined) return known;
  // xorshift32 (Marsaglia 2003).
  let state = 0x9e3779b9;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 24;
  };
  const sequence = Uint8Array.from({ length: BYTE_PERIOD }, () => byteOf[codes](next()));
  sequences.set(codes, sequence);
  return sequence;
}

function repeated(sequence: Uint8Array, start: number, bytes: number): Uint8Array {
  const out = new Uint8Array(bytes);
  for (let done = 0; done < bytes; ) {
    const piece = sequence.subarray((start + done) % sequence.length).subarray(0, bytes - done);
    out.set(piece, done);
    done += piece.length;
  }
  return out;
}
