import { describeEachBackend } from "../helpers/backends";
import { assertClose, assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases, full } from "../helpers/table";
import { packed } from "./cases/causal-conv1d";
import {
  checkChunk,
  compareGdn,
  type GdnInputs,
  type GdnResult,
  type GdnSequence,
  gdnBase,
  gdnInputs,
  gdnPart,
  gdnTolerance,
  launchChunk,
  launchUpdate,
} from "./cases/gdn";

const table = cases(gdnBase, [
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
  { keyHeads: 1, valueHeads: 1 }, // a single head
  { keyHeads: 4 }, // a key head for each value head
  { keyHeads: 1, valueHeads: 3 }, // three value heads share a key head
  { keyHeads: 2, valueHeads: 8 }, // four
  { keyHeads: 1, valueHeads: 8 }, // eight
  { keyDim: 128, valueDim: 128, chunk: 64 }, // the published models' shape
  { keyDim: 5, valueDim: 3 }, // multiples of nothing
  { keyDim: 1, valueDim: 1 }, // scalars
  { keyDim: 33, valueDim: 17 }, // one more than vectors
  { keyDim: 16, valueDim: 64 }, // wider than deep
  { keyDim: 256, valueDim: 48 }, // deeper than wide
  { chunk: 1 }, // a chunk for each token
  { chunk: 8 }, // small chunks
  { chunk: 24 }, // no power of two
  { chunk: 128, lengths: [130, 300, 128] }, // chunks longer than what a kernel does at once
  { dtype: "bf16" }, // inputs in bf16
  { dtype: "bf16", gateDtype: "bf16" }, // gates too
  { stateDtype: "bf16" }, // state in bf16
  { stateDtype: "f16" }, // state in f16
  { dtype: "bf16", gateDtype: "bf16", stateDtype: "bf16" }, // everything in bf16
  { dtype: "bf16", chunk: 24, keyDim: 33, valueDim: 17 }, // bf16 with ragged edges
  { dtype: "bf16", keyDim: 128, valueDim: 128, chunk: 64, wide: true }, // what the published models run
  { dtype: "f16" }, // inputs in f16
  { dtype: "f16", gateDtype: "f16", stateDtype: "f16" }, // everything in f16
  { dtype: "f16", chunk: 24, keyDim: 33, valueDim: 17 }, // f16 with ragged edges
  { keep: "all" }, // nothing is forgotten
  { keep: "none" }, // everything is
  { keep: "mixed" }, // everything, now and then
  { write: "all" }, // values are replaced
  { write: "none" }, // nothing is written
  { keep: "all", write: "all", lengths: [200] }, // the delta rule without gates
  { keep: "all", write: "none" }, // the state must stand still
  { keys: "repeated" }, // one key for all tokens
  { keys: "repeated", keep: "all", write: "all", chunk: 64, lengths: [200] }, // each value replaces the one before
  { keys: "opposite", keep: "all", write: "all", chunk: 64, lengths: [200] }, // and changes its sign
  { keys: "zero" }, // keys without a direction
  { keys: "tiny" }, // eps counts
  { keys: "huge" }, // and here it does not
  { scale: 0.125 }, // a scale of queries
  { wide: true }, // q, k and v are slices of one row
  { wide: true, dtype: "bf16", keyHeads: 1 }, // the same in bf16
  { xPad: 24 }, // gap between the rows of q, k, v and the gates
  { outPad: 9 }, // out is a slice of a wider row
  { statePad: 40 }, // gap between slots
  { wide: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // nothing is aligned
  { dtype: "bf16", stateDtype: "bf16", wide: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in bf16
  { dtype: "f16", stateDtype: "f16", wide: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in f16
  { padding: [0] }, // padding sequence first
  { padding: [1] }, // padding sequence in the middle
  { padding: [0, 1, 2] }, // nothing but padding
  // 300 sequences of 1 to 199 tokens
  { lengths: Array.from({ length: 300 }, (_, i) => 1 + ((i * 61) % 199)), slotsInPool: 300, keyDim: 16, valueDim: 8 },
  // 2048 prefills of one token
  { lengths: new Array(2048).fill(1), slotsInPool: 2048, keyDim: 8, valueDim: 8 },
  // one long sequence, nothing forgotten: errors must not add up
  { lengths: [full ? 65536 : 4096], keyHeads: 1, valueHeads: 2, keyDim: 16, valueDim: 16, keep: "all", chunk: 64 },
  { lengths: [full ? 65536 : 4096], keyHeads: 1, valueHeads: 2, keyDim: 16, valueDim: 16, dtype: "bf16", chunk: 64 },
]);

type Launch = (inputs: GdnInputs) => Promise<GdnResult[]>;

/** Feeds one sequence in pieces, each starting from the state that the last one left. */
async function inPieces(launches: (piece: number) => Launch, whole: GdnInputs, ends: readonly number[]) {
  const [sequence] = whole.sequences as [GdnSequence];
  const outs: Float32Array[] = [];
  let state = sequence.initial;
  let start = 0;
  for (const [i, end] of ends.entries()) {
    const [result] = await launches(i)({ ...whole, sequences: [gdnPart(sequence, start, end, state)] });
    outs.push(result!.out);
    state = result!.state;
    start = end;
  }
  return { out: packed(outs), state: state! };
}

describeEachBackend((backend) => {
  const chunk: Launch = (inputs) => launchChunk(backend, inputs);
  const update: Launch = (inputs) => launchUpdate(backend, inputs);

  test.each(table)("$name", ({ row }) => checkChunk(backend, row));

  describe("cut anywhere, the result is the whole's", () => {
    const q = gdnBase.chunk;
    const length = 3 * q + 5;
    test.each<[string, number[], "bits" | "close"]>([
      ["after the first token", [1, length], "close"],
      ["before a chunk ends", [q - 1, length], "close"],
      ["where a chunk ends", [q, length], "bits"],
      ["where each chunk ends", [q, 2 * q, 3 * q, length], "bits"],
      ["after a chunk ends", [q + 1, length], "close"],
      ["at primes", [2, 3, 5, 7, 11, 31, 37, 61, 97, length], "close"],
      ["before the last token", [length - 1, length], "close"],
    ])("%s", async (_name, ends, how) => {
      for (const dtype of ["f32", "bf16", "f16"] as const) {
        for (const initial of ["none", "all"] as const) {
          const whole = gdnInputs({ ...gdnBase, dtype, lengths: [length], initial });
          const [want] = await chunk(whole);
          const got = await inPieces(() => chunk, whole, ends);
          compareGdn(whole, [got]);
          if (how === "bits") {
            assertSameBits("out", got.out, want!.out);
            assertSameBits("state", got.state, want!.state!);
          } else {
            const { rtol, atol } = gdnTolerance(whole.row);
            const both = { rtol: 2 * rtol, atol: 2 * atol }; // both sides may be off, each as far from the recurrence
            assertClose("out", [got.out.length], got.out, want!.out, both);
            assertClose("state", [got.state.length], got.state, want!.state!, both);
          }
        }
      }
    });
  });

  test.each(["f32", "bf16", "f16"] as const)("a prompt, then token by token through gdn_update: %s", async (dtype) => {
    const whole = gdnInputs({ ...gdnBase, dtype, lengths: [80], initial: "none" });
    const ends = [50, ...Array.from({ length: 30 }, (_, i) => 51 + i)];
    compareGdn(whole, [await inPieces((piece) => (piece === 0 ? chunk : update), whole, ends)]);
  });

  describe("determinism", () => {
    const inputs = gdnInputs({ ...gdnBase, dtype: "bf16", lengths: [33, 1, 0, 32, 120, 2] });

    /** Each result is the one of `order` of the first, bit for bit. */
    function expectSame(got: readonly GdnResult[], want: readonly GdnResult[], order = want.map((_, i) => i)) {
      for (const [to, from] of order.entries()) {
        assertSameBits(`out of sequence ${from}`, got[to]!.out, want[from]!.out);
        if (want[from]!.state) assertSameBits(`state of sequence ${from}`, got[to]!.state!, want[from]!.state!);
      }
    }

    test("the same batch twice gives the same bits", async () => expectSame(await chunk(inputs), await chunk(inputs)));

    test("a permuted batch gives each sequence the same bits", async () => {
      const order = new Rng(1).permutation(inputs.sequences.length);
      const permuted = await chunk({ ...inputs, sequences: order.map((i) => inputs.sequences[i]!) });
      expectSame(permuted, await chunk(inputs), order);
    });

    test("a sequence alone gives the bits that it has in a batch", async () => {
      const batch = await chunk(inputs);
      for (const [i, sequence] of inputs.sequences.entries()) {
        expectSame(await chunk({ ...inputs, sequences: [sequence] }), [batch[i]!]);
      }
    });

    // A GPU's blocks may walk over several (sequence, head) pairs each; a slip in their hand-over shows once in many runs.
    test("many short sequences, again and again, give the same bits", async () => {
      const shape = { keyHeads: 16, valueHeads: 32, keyDim: 128, valueDim: 128, chunk: 64, slotsInPool: 8 } as const;
      const lengths = new Array<number>(backend.kind === "cpu" ? 2 : 8).fill(128);
      const many = gdnInputs({ ...gdnBase, ...shape, lengths, initial: "all", dtype: "bf16", wide: true });
      const first = await chunk(many);
      for (let run = backend.kind === "cpu" ? 1 : 5; run > 0; run--) expectSame(await chunk(many), first);
    });
  });

  describe("a NaN gate makes its head NaN from its chunk on at most, and no other", () => {
    const head = 2;
    const published = { dtype: "bf16", keyDim: 128, valueDim: 128, chunk: 64 } as const; // a kernel of its own on Hopper
    test.each([
      ["a", {}],
      ["b", {}],
      ["a", published],
      ["b", published],
    ] as const)("%s %o", async (gate, change) => {
      const inputs = gdnInputs({ ...gdnBase, ...change, lengths: [40, 70, 65], initial: "all" });
      const { valueHeads, valueDim, chunk: size } = inputs.row;
      const clean = await chunk(inputs);
      for (const token of [0, 37, 69]) {
        const sequences = inputs.sequences.map((sequence, s) => {
          const values = sequence[gate].slice();
          if (s === 1) values[token * valueHeads + head] = Number.NaN;
          return { ...sequence, [gate]: values };
        });
        const got = await chunk({ ...inputs, sequences });
        inputs.sequences.forEach(({ length }, s) => {
          for (let i = 0; i < length * valueHeads; i++) {
            const [t, h] = [Math.floor(i / valueHeads), i % valueHeads];
            const part = (values: Float32Array) => values.slice(i * valueDim, (i + 1) * valueDim);
            if (s !== 1 || h !== head || t < token - (token % size)) {
              assertSameBits(`sequence ${s}, token ${t}, head ${h}`, part(got[s]!.out), part(clean[s]!.out));
            } else if (t >= token) {
              expect(part(got[s]!.out).every(Number.isNaN)).toBe(true);
            }
          }
        });
      }
    });
  });
});
