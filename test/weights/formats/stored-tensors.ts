/** Checkpoints of a few tensors, and what goes into them. */
import { Checkpoint } from "../../../src/weights/checkpoint";
import type { QuantizationSettings } from "../../../src/weights/formats/format";
import { WeightScope } from "../../../src/weights/scope";
import { toBf16, toF16 } from "../../helpers/bits";
import { Rng } from "../../helpers/rng";
import { type TestDir, withLength } from "../files";

export type Stored = readonly [dtype: string, shape: readonly number[], values: ArrayBufferView];

export function scopeIn(
  dir: TestDir,
  tensors: Readonly<Record<string, Stored>>,
  settings?: QuantizationSettings,
): WeightScope {
  const header: Record<string, object> = {};
  const data: Uint8Array[] = [];
  let end = 0;
  for (const [name, [dtype, shape, values]] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + values.byteLength] };
    data.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    end += values.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  dir.write("model.safetensors", withLength(BigInt(json.length), Buffer.concat([json, ...data])));
  return WeightScope.ofCheckpoint(Checkpoint.open(dir.path), settings);
}

export const bf16 = (values: Float32Array) => Uint16Array.from(values, toBf16);
export const f16 = (values: Float32Array) => Uint16Array.from(values, toF16);

/** Codes with the zero points of groups, as GPTQ and AWQ have them before they are packed. */
export function drawn(n: number, k: number, group: number) {
  const rng = new Rng(4);
  const groups = Math.ceil(k / group);
  return {
    codes: Uint8Array.from({ length: n * k }, () => rng.bits() & 15),
    zeros: Uint8Array.from({ length: n * groups }, () => 1 + (rng.bits() % 15)),
    scales: Float32Array.from({ length: n * groups }, () => 2 ** -6 * (1 + (rng.bits() % 64) / 64)),
    groups,
  };
}
/** Eight numbers in a word, the i-th of them at place order[i]. */
export function words(
  rows: number,
  columns: number,
  at: (row: number, column: number) => number,
  order = [0, 1, 2, 3, 4, 5, 6, 7],
) {
  const packed = new Int32Array((rows * columns) / 8);
  for (let row = 0; row < rows; row++) {
    for (let word = 0; word < columns / 8; word++) {
      order.forEach((column, i) => {
        packed[(row * columns) / 8 + word]! |= at(row, 8 * word + column) << (4 * i);
      });
    }
  }
  return packed;
}
export const transposed = (n: number, groups: number, values: Float32Array) =>
  Float32Array.from({ length: n * groups }, (_, i) => values[(i % n) * groups + Math.floor(i / n)]!);
