import { ropeStoreKv } from "../../src/ops/attention";
import { type Backend, describeEachBackend } from "../helpers/backends";
import { decode, encode, type FloatDType, fromE4m3, rounded, toE4m3 } from "../helpers/bits";
import { assertClose, assertSameBits, toleranceOf } from "../helpers/close";
import * as reference from "../helpers/reference";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";

interface RopeRow {
  readonly positions: readonly number[];
  readonly slots: readonly number[]; // page * pageSize + offset
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rotaryDim: number; // 0: no rotation
  readonly theta: number;
  readonly factor: number;
  readonly norms: "" | "q" | "k" | "qk"; // heads that are normalised first
  readonly pages: number;
  readonly pageSize: number;
  readonly dtype: FloatDType;
  readonly e4m3: boolean;
  readonly packed: boolean; // q, k and v are columns of one row
  readonly pad: number; // elements between rows
  readonly shift: number; // elements that q, k and v start off their alignment
}

const base: RopeRow = {
  positions: [0, 1, 2, 17, 5],
  slots: [32, 33, 34, 1, 21],
  heads: 4,
  kvHeads: 2,
  headDim: 64,
  rotaryDim: 64,
  theta: 10000,
  factor: 1,
  norms: "",
  pages: 4,
  pageSize: 16,
  dtype: "f32",
  e4m3: false,
  packed: false,
  pad: 0,
  shift: 0,
};

/** Twelve tokens, of which the last is padding. */
const twelve = {
  positions: Array.from({ length: 12 }, (_, i) => 3 * i),
  slots: Array.from({ length: 12 }, (_, i) => (i < 11 ? 40 - 3 * i : -1)),
};

const table = cases(base, [
  {},
  { positions: [7], slots: [3] }, // one token
  { positions: [], slots: [] }, // no tokens
  { slots: [-1, 33, -1, 1, -1] }, // padding: rotated, stored nowhere
  { slots: [-1, -1, -1, -1, -1] },
  { slots: [64, 33, 2 ** 30, 1, 21] }, // outside of the pool
  { rotaryDim: 0 }, // v's and k's values as they are
  { rotaryDim: 32 }, // a part of the channels
  { rotaryDim: 2 },
  { headDim: 80, rotaryDim: 20 }, // halves of no whole vector
  { headDim: 8, rotaryDim: 8 },
  { headDim: 256, rotaryDim: 256 },
  { heads: 2 }, // as many KV heads as heads
  { heads: 9, kvHeads: 3 },
  { positions: [4095, 131071, 262143, 524288, 1048575] }, // far angles
  { theta: 500000, positions: [4095, 131071, 262143, 524288, 1048575], dtype: "bf16" },
  { factor: 1.3689 }, // yarn's attention factor
  { norms: "qk" }, // heads are normalised first
  { norms: "qk", heads: 9, kvHeads: 3 },
  { norms: "q", rotaryDim: 16 },
  { norms: "k", rotaryDim: 16 },
  { norms: "qk", rotaryDim: 0 },
  { norms: "qk", headDim: 256, rotaryDim: 64, heads: 16, dtype: "bf16", packed: true }, // Qwen3.5's attention
  { ...twelve, norms: "qk", headDim: 256, rotaryDim: 64, heads: 16, dtype: "bf16", packed: true }, // for more tokens
  { ...twelve, norms: "k", headDim: 256, rotaryDim: 256, heads: 27, kvHeads: 3, dtype: "f16", e4m3: true },
  { norms: "qk", headDim: 80, rotaryDim: 20, dtype: "f16" }, // halves of no whole vector
  { norms: "qk", rotaryDim: 32, e4m3: true, slots: [-1, 33, -1, 1, -1] },
  { norms: "qk", packed: true, pad: 3, shift: 1 },
  { pageSize: 256, slots: [300, 1023, 255, 256, 0] },
  { dtype: "bf16" },
  { dtype: "f16" },
  { e4m3: true },
  { dtype: "bf16", e4m3: true, rotaryDim: 32 },
  { dtype: "f16", e4m3: true, headDim: 80, rotaryDim: 20 },
  { packed: true, pad: 24 },
  { packed: true, dtype: "bf16", headDim: 80, rotaryDim: 80 },
  { packed: true, pad: 3, shift: 1 }, // nothing is aligned
  { packed: true, pad: 3, shift: 1, dtype: "bf16", e4m3: true },
] satisfies Partial<RopeRow>[]);

const scales = { kScale: 0.5, vScale: 0.25 };

/** q, k and v of all tokens, as one tensor of rows or as three. */
function placeQkv(backend: Backend, row: RopeRow, values: readonly Float32Array[]) {
  const { headDim, pad: rowPad, shift, dtype } = row;
  const tokens = row.positions.length;
  const heads = [row.heads, row.kvHeads, row.kvHeads];
  if (!row.packed) {
    const placed = values.map((v, i) =>
      backend.place(dtype, [tokens, heads[i]!, headDim], { values: v, rowPad, shift }),
    );
    return {
      tensors: placed.map(({ tensor }) => tensor),
      read: () => Promise.all(placed.map(async (p) => (await p.values()) as Float32Array)),
    };
  }
  const widths = heads.map((h) => h * headDim);
  const width = widths.reduce((a, b) => a + b, 0);
  const starts = [0, widths[0]!, widths[0]! + widths[1]!];
  const all = new Float32Array(tokens * width);
  for (let t = 0; t < tokens; t++) {
    values.forEach((v, i) => {
      all.set(v.subarray(t * widths[i]!, (t + 1) * widths[i]!), t * width + starts[i]!);
    });
  }
  const placed = backend.place(dtype, [tokens, width], { values: all, rowPad, shift });
  return {
    tensors: heads.map((h, i) => placed.columns(starts[i]!, [h, headDim])),
    read: async () => {
      const rows = (await placed.values()) as Float32Array;
      return values.map((v, i) =>
        v.map((_, j) => rows[Math.floor(j / widths[i]!) * width + starts[i]! + (j % widths[i]!)]!),
      );
    },
  };
}

async function check(backend: Backend, row: RopeRow): Promise<void> {
  const { heads, kvHeads, headDim, dtype, pages, pageSize, factor, rotaryDim } = row;
  const rng = new Rng(0);
  const tokens = row.positions.length;
  const values = [heads, kvHeads, kvHeads].map((h) => rounded(dtype, rng.normal(tokens * h * headDim)));
  const [qNorm, kNorm] = [0, 1].map(() => rng.normal(headDim, 1, 0.3)) as [Float32Array, Float32Array];
  const normEps = 1e-5;
  const invFreq = Float32Array.from({ length: rotaryDim / 2 }, (_, i) => row.theta ** ((-2 * i) / rotaryDim));
  const qkv = placeQkv(backend, row, values);
  const pageDtype = row.e4m3 ? "u8" : dtype;
  const pools = [0, 1].map(() => backend.place(pageDtype, [pages, kvHeads, pageSize, headDim], { rowPad: 40 }));
  const [q, k, v] = qkv.tensors;
  ropeStoreKv(backend.stream, {
    q: q!,
    k: k!,
    v: v!,
    positions: backend.integers(row.positions),
    slotMapping: backend.integers(row.slots),
    ...(rotaryDim > 0 && { invFreq: backend.floats([rotaryDim / 2], invFreq) }),
    ropeFactor: factor,
    ...(row.norms.includes("q") && { qNorm: backend.floats([headDim], qNorm) }),
    ...(row.norms.includes("k") && { kNorm: backend.floats([headDim], kNorm) }),
    normEps,
    kPages: pools[0]!.tensor,
    vPages: pools[1]!.tensor,
    ...(row.e4m3 && scales),
  });

  const normed = (x: Float32Array, name: "q" | "k") =>
    row.norms.includes(name)
      ? Float32Array.from(reference.rmsNorm(x, name === "q" ? qNorm : kNorm, headDim, normEps))
      : x;
  const turned = (x: Float32Array, count: number) =>
    Float32Array.from(
      row.positions.flatMap((position, t) => [
        ...reference.rope(
          x.subarray(t * count * headDim, (t + 1) * count * headDim),
          headDim,
          position,
          invFreq,
          factor,
        ),
      ]),
    );
  const [qAfter, kAfter, vAfter] = await qkv.read();
  const tolerance = dtype === "f32" ? { rtol: 1e-6, atol: 1e-6 } : toleranceOf(dtype);
  assertClose("q", [tokens, heads, headDim], qAfter!, turned(normed(values[0]!, "q"), heads), tolerance);
  assertSameBits("k", kAfter!, values[1]!);
  assertSameBits("v", vAfter!, values[2]!);

  // Pages: what is stored, and nothing else.
  const want = [turned(normed(values[1]!, "k"), kvHeads), values[2]!];
  for (const [i, pool] of pools.entries()) {
    const before = pool.initialWords();
    const after = await pool.words();
    const scale = i === 0 ? scales.kScale : scales.vScale;
    row.slots.forEach((slot, t) => {
      if (slot < 0 || slot >= pages * pageSize) return;
      for (let h = 0; h < kvHeads; h++) {
        const at = ((Math.floor(slot / pageSize) * kvHeads + h) * pageSize + (slot % pageSize)) * headDim;
        const words = after.slice(at, at + headDim);
        const expected = want[i]!.subarray((t * kvHeads + h) * headDim, (t * kvHeads + h + 1) * headDim);
        const what = `${i === 0 ? "k" : "v"} of token ${t}, head ${h}`;
        if (row.e4m3) {
          const got = Float32Array.from(words, (code) => fromE4m3(code) * scale);
          // v is rounded as the reference does; k may fall on the other side of a tie.
          const exact = expected.map((x) => fromE4m3(toE4m3(x / scale)) * scale);
          if (i === 1) assertSameBits(what, got, exact);
          assertClose(what, [headDim], got, expected, { rtol: 0.0626, atol: scale * 2 ** -10 });
        } else {
          const got = decode(dtype, words) as Float32Array;
          if (i === 1) assertSameBits(what, words, encode(dtype, expected));
          assertClose(what, [headDim], got, expected, tolerance);
        }
        after.set(before.subarray(at, at + headDim), at);
      }
    });
    assertSameBits("the rest of the pool", after, before);
  }
}

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => check(backend, row));

  test("e4m3 rounds to nearest even and stops at 448", async () => {
    const values = [
      0,
      -0,
      448,
      449,
      1e6,
      -1e6,
      464,
      2 ** -9,
      2 ** -10,
      1.5 * 2 ** -9,
      2 ** -11,
      2 ** -6,
      17,
      18,
      19,
      0.3,
    ];
    const x = backend.place("f32", [1, 1, 16], { values });
    const pool = () => backend.place("u8", [1, 1, 16, 16], { values: new Array(256).fill(1) });
    const [k, v] = [pool(), pool()];
    ropeStoreKv(backend.stream, {
      q: backend.place("f32", [1, 1, 16], { values }).tensor,
      k: x.tensor,
      v: x.tensor,
      positions: backend.integers([0]),
      slotMapping: backend.integers([0]),
      kPages: k.tensor,
      vPages: v.tensor,
    });
    for (const placed of [k, v]) {
      assertSameBits(
        "codes",
        (await placed.words()).slice(0, 16),
        Uint8Array.from(values, (value) => toE4m3(value)),
      );
    }
  });
});
