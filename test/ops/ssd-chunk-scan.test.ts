import { describeEachBackend } from "../helpers/backends";
import { assertClose, assertSameBits, tolerances } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases, describePublished, full } from "../helpers/table";
import { packed } from "./cases/causal-conv1d";
import {
  checkScan,
  compareScan,
  launchScan,
  type ScanInputs,
  type ScanRow,
  type ScanSequence,
  scanBase,
  scanInputs,
} from "./cases/ssd-chunk-scan";
import { chunkedPrefills, continuousBatches, scanTables } from "./published/ssd-chunk-scan";

const table = cases(scanBase, [
  {},
  { lengths: [200] }, // one sequence
  { lengths: [1, 1, 1, 1] }, // one token each
  { lengths: [31, 32, 33, 64, 96] }, // around the chunk size
  { lengths: [0, 40, 3] }, // empty sequence first
  { lengths: [40, 0, 0, 3] }, // empty sequences in the middle
  { lengths: [40, 3, 0] }, // empty sequence last
  { lengths: [0, 0], initial: "all" }, // all empty: no chunks
  { lengths: [] }, // no sequences
  { initial: "none" }, // dirty slots are ignored
  { initial: "all" }, // every sequence continues
  { heads: 1 }, // a single head
  { heads: 5 }, // heads do not fill the threads
  { headDim: 64, stateSize: 128 }, // the published models' shape
  { headDim: 80, stateSize: 128 }, // Nemotron Nano v2's head
  { headDim: 5, stateSize: 5 }, // multiples of nothing
  { headDim: 1, stateSize: 1 }, // scalars
  { headDim: 17 }, // one more than a vector
  { stateSize: 96 }, // no power of two
  { stateSize: 256 }, // the largest published state
  { groups: 2 }, // heads share B and C in pairs
  { groups: 4 }, // B and C for each head
  { chunk: 1 }, // a chunk for each token
  { chunk: 8 }, // small chunks
  { chunk: 24 }, // no power of two
  { chunk: 256 }, // one chunk for each sequence
  { chunk: 128, lengths: [130, 300, 128], headDim: 16 }, // chunks longer than what a kernel does at once
  { dtype: "bf16" }, // inputs in bf16
  { dtype: "bf16", dtDtype: "bf16" }, // dt too
  { stateDtype: "bf16" }, // state in bf16
  { stateDtype: "f16" }, // state in f16
  { dtype: "bf16", dtDtype: "bf16", stateDtype: "bf16" }, // everything in bf16
  { dtype: "bf16", groups: 2, chunk: 24, headDim: 17 }, // bf16 with ragged edges
  { dtype: "f16" }, // inputs in f16
  { dtype: "f16", dtDtype: "f16", stateDtype: "f16" }, // everything in f16
  { dtype: "f16", stateDtype: "bf16" }, // state in the other 16 bits
  { dtype: "f16", groups: 2, chunk: 24, headDim: 17 }, // f16 with ragged edges
  { d: false }, // no skip connection
  { dtBias: false }, // no bias
  { dtSoftplus: false, dtBias: false }, // dt as it comes
  { dtMax: 0.02 }, // upper limit cuts most
  { dtMin: 0.05 }, // lower limit lifts most
  { dtMin: 0.03, dtMax: 0.03 }, // both limits the same
  { dt: "zero" }, // the state must stand still
  { dt: "zero", dtSoftplus: false, dtBias: false }, // exact zeros
  { dt: "threshold", dtBias: false }, // both sides of softplus' threshold
  { dt: "huge" }, // e^dt overflows, decays underflow
  { dt: "mixed", dtBias: false }, // small steps right behind a large one
  { aScale: 1e4 }, // decays underflow to zero
  { aScale: 1e-6 }, // nothing decays
  { wide: true }, // x, b and c are slices of one row
  { wide: true, dtype: "bf16", groups: 2 }, // the same in bf16
  { xPad: 24 }, // gap between the rows of x, b, c and dt
  { outPad: 9 }, // out is a slice of a wider row
  { statePad: 40 }, // gap between slots
  { wide: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // nothing is aligned
  { dtype: "bf16", stateDtype: "bf16", wide: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in bf16
  { dtype: "f16", stateDtype: "f16", wide: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in f16
  { padding: [0] }, // padding sequence first
  { padding: [1] }, // padding sequence in the middle
  { padding: [0, 1, 2] }, // nothing but padding
  // 300 sequences of 1 to 199 tokens
  { lengths: Array.from({ length: 300 }, (_, i) => 1 + ((i * 61) % 199)), slotsInPool: 300, heads: 2, headDim: 16 },
  // 2048 prefills of one token
  { lengths: new Array(2048).fill(1), slotsInPool: 2048, heads: 2, headDim: 8, stateSize: 16 },
  { lengths: [full ? 131072 : 4096], heads: 2, headDim: 16, stateSize: 16, chunk: 128 }, // one long sequence
]);

type Launch = (inputs: ScanInputs) => ReturnType<typeof launchScan>;

/** Feeds one sequence in pieces, each starting from the state that the last one left. */
async function inPieces(launch: Launch, whole: ScanInputs, ends: readonly number[]) {
  const [sequence] = whole.sequences as [ScanSequence];
  const outs: Float32Array[] = [];
  let initial = sequence.initial;
  let start = 0;
  for (const end of ends) {
    const part = (values: Float32Array) => {
      const size = values.length / sequence.length;
      return values.subarray(start * size, end * size);
    };
    const { x, dt, b, c } = sequence;
    const piece = { x: part(x), dt: part(dt), b: part(b), c: part(c), length: end - start, initial };
    const [result] = await launch({ ...whole, sequences: [{ ...sequence, ...piece }] });
    outs.push(result!.out);
    initial = result!.state;
    start = end;
  }
  return { out: packed(outs), state: initial! };
}

describeEachBackend((backend) => {
  const launch: Launch = (inputs) => launchScan(backend, inputs);

  test.each(table)("$name", ({ row }) => checkScan(backend, row));

  describe("cut anywhere, the result is the whole's", () => {
    const q = scanBase.chunk;
    const length = 3 * q + 5;
    test.each<[string, number[], "bits" | "close"]>([
      ["after the first token", [1, length], "close"],
      ["before a chunk ends", [q - 1, length], "close"],
      ["where a chunk ends", [q, length], "bits"],
      ["where each chunk ends", [q, 2 * q, 3 * q, length], "bits"],
      ["after a chunk ends", [q + 1, length], "close"],
      ["at primes", [2, 3, 5, 7, 11, 31, 37, 61, 97, length], "close"],
      ["into single tokens at first", [1, 2, 3, length], "close"],
      ["before the last token", [length - 1, length], "close"],
    ])("%s", async (_name, ends, how) => {
      for (const dtype of ["f32", "bf16", "f16"] as const) {
        for (const initial of ["none", "all"] as const) {
          const whole = scanInputs({ ...scanBase, dtype, lengths: [length], initial });
          const [want] = await launch(whole);
          const got = await inPieces(launch, whole, ends);
          compareScan(whole, [got]);
          if (how === "bits") {
            assertSameBits("out", got.out, want!.out);
            assertSameBits("state", got.state, want!.state!);
          } else {
            // A GPU multiplies 16-bit operands: both sides are rounded, each as far as the tolerance from the recurrence.
            const sides = backend.kind === "cpu" || dtype === "f32" ? 1 : 2;
            const tolerance = { rtol: sides * tolerances[dtype].rtol, atol: sides * tolerances[dtype].atol };
            assertClose("out", [got.out.length], got.out, want!.out, tolerance);
            assertClose("state", [got.state.length], got.state, want!.state!, tolerance);
          }
        }
      }
    });
  });

  describe("determinism", () => {
    const inputs = scanInputs({ ...scanBase, dtype: "bf16", lengths: [33, 1, 0, 32, 120, 2] });

    test("the same batch twice gives the same bits", async () => {
      const [first, second] = [await launch(inputs), await launch(inputs)];
      first.forEach((result, i) => {
        assertSameBits("out", second[i]!.out, result.out);
        if (result.state) assertSameBits("state", second[i]!.state!, result.state);
      });
    });

    // A GPU's blocks walk over several (sequence, head) pairs each; a slip in their hand-over shows once in many runs.
    const sizes = [{ headDim: 64 }, { headDim: 80 }]; // 80: the blocks with the last 16 channels of heads are faster
    test.each(sizes)("many short sequences, again and again, give the same bits: %j", async (size) => {
      const many = scanInputs({
        ...scanBase,
        lengths: new Array(8).fill(128),
        initial: "all",
        ...size,
        heads: 128,
        stateSize: 128,
        chunk: 128,
        dtype: "bf16",
        stateDtype: "bf16",
        wide: true,
        slotsInPool: 8,
      });
      const first = await launch(many);
      for (let run = backend.kind === "cpu" ? 1 : 5; run > 0; run--) {
        for (const [i, result] of (await launch(many)).entries()) {
          assertSameBits(`out of sequence ${i}`, result.out, first[i]!.out);
          assertSameBits(`state of sequence ${i}`, result.state!, first[i]!.state!);
        }
      }
    });

    test("a permuted batch gives each sequence the same bits", async () => {
      const order = new Rng(1).permutation(inputs.sequences.length);
      const straight = await launch(inputs);
      const permuted = await launch({ ...inputs, sequences: order.map((i) => inputs.sequences[i]!) });
      order.forEach((from, to) => {
        assertSameBits("out", permuted[to]!.out, straight[from]!.out);
        if (straight[from]!.state) assertSameBits("state", permuted[to]!.state!, straight[from]!.state!);
      });
    });
  });

  describe("a NaN time step is no step of dtMin: its head becomes NaN, and no other", () => {
    const limits = { lengths: [40, 70, 65], initial: "all", dtMin: 0.001, dtMax: 0.1 } as const;
    const rows = cases<ScanRow>({ ...scanBase, ...limits }, [
      {},
      { dtSoftplus: false },
      { dtype: "bf16", dtDtype: "bf16", headDim: 64, stateSize: 128, groups: 2 },
      { dtype: "bf16", stateDtype: "bf16", headDim: 64, stateSize: 128, wide: true },
      { dtype: "f16", dtDtype: "f16", stateDtype: "f16" },
      { headDim: 17, stateSize: 96, chunk: 24 },
      { dtype: "bf16", headDim: 64, stateSize: 128, chunk: 128, lengths: [128, 300, 5] },
    ]);
    const head = 2;

    /**
     * Runs with and without the NaN. From token `from(s)` of sequence s on the head is NaN; before that token's chunk
     * nothing has changed.
     */
    async function check(inputs: ScanInputs, broken: ScanInputs, from: (s: number) => number) {
      const { heads, headDim, chunk } = inputs.row;
      const [clean, got] = [await launch(inputs), await launch(broken)];
      inputs.sequences.forEach(({ length }, s) => {
        for (let h = 0; h < heads; h++) {
          const first = h === head ? from(s) : length;
          for (let t = 0; t < length; t++) {
            const at = (t * heads + h) * headDim;
            const part = (values: Float32Array) => values.slice(at, at + headDim);
            if (t >= first) expect(part(got[s]!.out).every(Number.isNaN)).toBe(true);
            else if (first === length || t < first - (first % chunk)) {
              assertSameBits(`sequence ${s}, token ${t}, head ${h}`, part(got[s]!.out), part(clean[s]!.out));
            }
          }
          const size = got[s]!.state!.length / heads;
          const part = (values: Float32Array) => values.slice(h * size, (h + 1) * size);
          if (first < length) expect(part(got[s]!.state!).every(Number.isNaN)).toBe(true);
          else assertSameBits(`state of sequence ${s}, head ${h}`, part(got[s]!.state!), part(clean[s]!.state!));
        }
      });
    }

    test.each(rows)("in dt: $name", async ({ row }) => {
      const inputs = scanInputs(row);
      for (const token of [0, 37, row.lengths[1]! - 1]) {
        const sequences = inputs.sequences.map((sequence, s) => {
          const dt = sequence.dt.slice();
          if (s === 1) dt[token * row.heads + head] = Number.NaN;
          return { ...sequence, dt };
        });
        await check(inputs, { ...inputs, sequences }, (s) => (s === 1 ? token : row.lengths[s]!));
      }
    });

    test.each(rows)("in dt_bias: $name", async ({ row }) => {
      const inputs = scanInputs(row);
      const dtBias = inputs.dtBias!.slice();
      dtBias[head] = Number.NaN;
      await check(inputs, { ...inputs, dtBias }, () => 0);
    });
  });

  for (const { title, table } of scanTables(scanBase)) {
    describePublished(title, table, (row) => checkScan(backend, row));
  }
  describePublished(
    "vLLM test_mamba_chunk_scan_cont_batch",
    continuousBatches(scanBase),
    async ({ row, seqlen, steps }) => {
      // Each example's tokens come from its own endless stream; an example starts over after `seqlen` tokens.
      const examples = steps[0]!.length;
      const stream = scanInputs({ ...row, lengths: new Array(examples).fill(seqlen), initial: "none" });
      const fed = new Array<number>(examples).fill(0);
      const states = new Array<Float32Array | null>(examples).fill(null);
      for (const step of steps) {
        const sequences = step.map((length, i): ScanSequence => {
          const whole = stream.sequences[i]!;
          const start = fed[i]! % seqlen;
          const part = (values: Float32Array) =>
            Float32Array.from({ length: (length * values.length) / seqlen }, (_, at) => {
              return values[((start * values.length) / seqlen + at) % values.length]!;
            });
          fed[i]! += length;
          const initial = start === 0 ? null : states[i]!;
          const { x, dt, b, c } = whole;
          return { length, x: part(x), dt: part(dt), b: part(b), c: part(c), initial, slot: whole.slot };
        });
        const inputs = { ...stream, sequences };
        const results = await launch(inputs);
        compareScan(inputs, results);
        results.forEach((result, i) => {
          states[i] = result.state;
        });
      }
    },
  );
  describePublished("prefill in two halves (vLLM, TensorRT-LLM)", chunkedPrefills(scanBase), async (row) => {
    const whole = scanInputs(row);
    const want = await launch(whole);
    compareScan(whole, want);
    for (const [i, sequence] of whole.sequences.entries()) {
      const half = Math.floor(sequence.length / 2);
      const got = await inPieces(launch, { ...whole, sequences: [sequence] }, [half, sequence.length]);
      assertClose("out", [got.out.length], got.out, want[i]!.out, row.tolerance!);
      assertClose("state", [got.state.length], got.state, want[i]!.state!, row.tolerance!);
    }
  });
});
