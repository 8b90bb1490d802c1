import { type CodeDtype, sizeOf } from "../tensor/dtype";
import { type QuantizedDescriptor, wholeMatrix } from "./descriptor";
import { copyPeriods, DUMMY_PERIOD, dummySeed, fillDummy, initial } from "./dummy";
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

/** Codes of four bits and integers may be any; of e4m3 those of magnitudes 1 to 1.875, so that none is NaN and few are tiny. */
const toByte = (codes: CodeDtype, random: number): number => (codes === "e4m3" ? (random & 0x87) | 0x38 : random);

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
  const start = dummySeed(name, seed) % DUMMY_PERIOD;
  return wholeMatrix({
    name,
    codes,
    group: share,
    shape,
    bytes: n * (rowBytes + groups * 2),
    quantizeX,
    read: (_, [begin, end]) => {
      const { period, mean, scale } = sequenceOf(codes);
      const bytes = new Uint8Array((end - begin) * rowBytes);
      copyPeriods(period, start + begin * rowBytes, bytes);
      return {
        codes: bytes,
        scales: new Float32Array((end - begin) * groups).fill(scale),
        offsets: new Float32Array(codes === "u4" ? (end - begin) * groups : 0).fill(-mean * scale),
      };
    },
  });
}

/** Bytes of codes, as many as other dummies have values before they repeat. */
interface CodeSequence {
  readonly period: Uint8Array;
  /** What codes mean on average, and what gives the values their deviation. */
  readonly mean: number;
  readonly scale: number;
}

const sequences = new Map<CodeDtype, CodeSequence>();

function sequenceOf(codes: CodeDtype): CodeSequence {
  const known = sequences.get(codes);
  if (known !== undefined) return known;
  const random = new Float32Array(DUMMY_PERIOD);
  fillDummy({ law: "uniform", low: 0, high: 256 }, 0, random);
  const meanings = codeValues[codes];
  const drawn = Array.from({ length: 256 }, (_, byte) => meanings[toByte(codes, byte) % meanings.length]!);
  const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const mean = meanOf(drawn);
  const deviation = Math.sqrt(meanOf(drawn.map((value) => (value - mean) ** 2)));
  const sequence = {
    period: Uint8Array.from(random, (value) => toByte(codes, value)),
    mean,
    scale: initial.matrix.law.deviation / deviation,
  };
  sequences.set(codes, sequence);
  return sequence;
}
