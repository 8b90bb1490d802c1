import { EngineError } from "../errors";
import { sizeOf } from "../tensor/dtype";
import { dummiesOf, partsOf, storedBytes, type WeightDescriptor } from "./descriptor";
import { fromBits, toBits } from "./float-bits";
import { type Part, pickParts, type ReadPart } from "./part";
import { valuesOf } from "./values";

/** Dummies as if they were stored. */
function stored({ source, dtype }: WeightDescriptor, values: Float32Array): Float32Array {
  return "dummy" in source ? fromBits(toBits(values, dtype).buffer, dtype) : values;
}

/**
 * Matrices of as many rows beside each other, each times its factor: products of several inputs whose sum is wanted become one. Where
 * all factors are 1 they stay where they lie. Throws ERR_WEIGHTS unless the rows are as many.
 */
export function beside(weights: readonly WeightDescriptor[], factors: readonly number[]): WeightDescriptor {
  const [first] = weights as [WeightDescriptor];
  const n = first.shape[0]!;
  const odd = weights.find(({ shape }) => shape.length !== 2 || shape[0] !== n);
  if (odd !== undefined) {
    const message = `${first.name} is [${first.shape}] and ${odd.name} [${odd.shape}]: expected as many rows, since both are one matrix here`;
    throw new EngineError("ERR_WEIGHTS", message, { subject: odd.name });
  }
  const widths = weights.map(({ shape }) => shape[1]!);
  const k = widths.reduce((sum, width) => sum + width, 0);
  const joined = { name: weights.map(({ name }) => name).join(" beside "), shape: [n, k] };
  const { dtype } = first;
  if (factors.every((factor) => factor === 1) && weights.every((weight) => weight.dtype === dtype)) {
    const rows = <P extends Part>(partsOfEach: (weight: WeightDescriptor) => readonly P[]): P[] => {
      const parts = weights.map(partsOfEach);
      const bytes = widths.map((width) => width * sizeOf(dtype));
      const ofRow = (row: number) =>
        parts.flatMap((some, i) => pickParts(some, [[row * bytes[i]!, (row + 1) * bytes[i]!]]));
      return Array.from({ length: n }, (_, row) => ofRow(row)).flat();
    };
    if (weights.every(({ source }) => "dummy" in source))
      return { ...joined, dtype, source: { dummy: rows(dummiesOf) } };
    if (weights.every(({ source }) => "parts" in source)) return { ...joined, dtype, source: { parts: rows(partsOf) } };
  }
  const values = (read: ReadPart) => {
    const all = new Float32Array(n * k);
    let begin = 0;
    for (const [i, weight] of weights.entries()) {
      const own = stored(weight, valuesOf(weight, read));
      const width = widths[i]!;
      for (let row = 0; row < n; row++) {
        const to = all.subarray(row * k + begin, row * k + begin + width);
        to.set(own.subarray(row * width, (row + 1) * width));
        if (factors[i] !== 1) for (let c = 0; c < width; c++) to[c]! *= factors[i]!;
      }
      begin += width;
    }
    return all;
  };
  const bytes = weights.reduce((sum, weight) => sum + storedBytes(weight), 0);
  return { ...joined, dtype: "f32", source: { values, bytes } };
}
