/** A checkpoint with a matrix of each kind that there is, of random bytes: how they are cut says nothing about what they mean. */
import { join } from "node:path";
import { GgufFile } from "../../src/gguf/gguf-file";
import { Checkpoint } from "../../src/weights/checkpoint";
import type { MatrixDescriptor } from "../../src/weights/descriptor";
import { matrixOf } from "../../src/weights/gguf/weight";
import { WeightScope } from "../../src/weights/scope";
import { toBf16, toE4m3, toF16 } from "../helpers/bits";
import { Rng } from "../helpers/rng";
import { type TestDir, withLength } from "./files";

type Shape = readonly [n: number, k: number];
type Stored = readonly [dtype: string, shape: readonly number[], values: ArrayBufferView];

/** Tensors of one module. */
type Module = (rng: Rng, shape: Shape) => Readonly<Record<string, Stored>>;

const bytes = (rng: Rng, count: number) => Uint8Array.from({ length: count }, () => rng.bits() & 255);
/** No NaN of e4m3. */
const e4m3 = (rng: Rng, count: number) => bytes(rng, count).map((code) => code & 0xbf);
const words = (rng: Rng, count: number) => Int32Array.from({ length: count }, () => rng.bits());
const scales = (rng: Rng, count: number) =>
  Float32Array.from({ length: count }, () => (128 + (rng.bits() % 128)) / 256);
const floats = (rng: Rng, count: number) => rng.normal(count);

const fp8 =
  (scaleShape: (shape: Shape) => number[]): Module =>
  (rng, [n, k]) => {
    const shape = scaleShape([n, k]);
    const count = shape.reduce((product, size) => product * size, 1);
    return { weight: ["F8_E4M3", [n, k], e4m3(rng, n * k)], weight_scale: ["F32", shape, scales(rng, count)] };
  };

/** `inOrder`: groups lie beside each other. */
const gptq =
  (group: number, inOrder = true): Module =>
  (rng, [n, k]) => {
    const groups = Math.ceil(k / group);
    const index = Int32Array.from({ length: k }, (_, i) => (inOrder ? Math.floor(i / group) : i % groups));
    return {
      qweight: ["I32", [k / 8, n], words(rng, (k / 8) * n)],
      qzeros: ["I32", [groups, n / 8], words(rng, (groups * n) / 8)],
      scales: ["F16", [groups, n], Uint16Array.from(scales(rng, groups * n), toF16)],
      g_idx: ["I32", [k], index],
    };
  };

const modules = {
  f32: (rng, [n, k]) => ({ weight: ["F32", [n, k], floats(rng, n * k)] }),
  bf16: (rng, [n, k]) => ({ weight: ["BF16", [n, k], Uint16Array.from(floats(rng, n * k), toBf16)] }),
  "fp8, a scale": fp8(() => []),
  "fp8, a scale for each row": fp8(([n]) => [n]),
  "fp8 in blocks": fp8(([n, k]) => [Math.ceil(n / 128), Math.ceil(k / 128)]),
  nvfp4: (rng, [n, k]) => ({
    weight: ["U8", [n, k / 2], bytes(rng, (n * k) / 2)],
    weight_scale: ["F8_E4M3", [n, k / 16], Uint8Array.from(scales(rng, (n * k) / 16), toE4m3)],
    weight_scale_2: ["F32", [], Float32Array.of(0.25)],
  }),
  gptq: gptq(64),
  "gptq, one group": gptq(2 ** 20),
  "gptq, groups in no order": gptq(64, false),
  awq: (rng, [n, k]) => {
    const { scales: scale, qzeros } = gptq(64)(rng, [n, k]) as Record<"scales" | "qzeros", Stored>;
    return { qweight: ["I32", [k, n / 8], words(rng, (k * n) / 8)], scales: scale, qzeros };
  },
} as const satisfies Record<string, Module>;

export type Kind = keyof typeof modules | "dummy" | "Q8_0" | "Q4_0" | "Q6_K";

/** One matrix of a kind for each number, all in one file; of a GGUF file always the same one. */
export function storedMatrices(dir: TestDir, kind: Kind, shape: Shape, count: number): MatrixDescriptor[] {
  if (kind === "dummy") {
    const scope = WeightScope.ofDummy();
    return Array.from({ length: count }, (_, i) => scope.scope(i).matrix(shape));
  }
  if (!(kind in modules)) return Array.from({ length: count }, () => ofGguf(kind, shape));
  const rng = new Rng(3);
  const header: Record<string, object> = {};
  const data: Uint8Array[] = [];
  let end = 0;
  for (let i = 0; i < count; i++) {
    for (const [name, [dtype, size, values]] of Object.entries(modules[kind as keyof typeof modules](rng, shape))) {
      header[`${i}.${name}`] = { dtype, shape: size, data_offsets: [end, end + values.byteLength] };
      data.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      end += values.byteLength;
    }
  }
  const json = Buffer.from(JSON.stringify(header));
  dir.write("model.safetensors", withLength(BigInt(json.length), Buffer.concat([json, ...data])));
  const scope = WeightScope.ofCheckpoint(Checkpoint.open(dir.path));
  return Array.from({ length: count }, (_, i) => scope.scope(i).matrix(shape));
}

/** A block of 256, whatever its type, is a row; the file has two of each. */
function ofGguf(name: string, [n, k]: Shape): MatrixDescriptor {
  const tensor = GgufFile.open(join(__dirname, "..", "golden", "gguf", "blocks.gguf")).tensor(name)!;
  const rows = Array.from({ length: n }, (_, row) => ({ tensor, begin: row % 2, end: (row % 2) + 1 }));
  if (k !== 256) throw new Error("a block has 256 elements");
  return matrixOf({ name, from: [name], shape: [n, k], rows });
}
