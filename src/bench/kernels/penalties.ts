import { applyPenalties, countTokens } from "../../ops/penalties";
import type { Tensor } from "../../tensor/tensor";
import type { Geometry } from "../geometries";
import type { Inputs } from "../inputs";
import { type Build, type Cases, FLOAT, type KernelCase } from "../kernel-case";

/** Bytes of a count, of a token id and of any other word. */
const WORD = 4;
/** CountedRow and PenaltyRow of native/ops/penalties.h, in words. */
const COUNTED_ROW_WORDS = 5;
const PENALTY_ROW_WORDS = 4;

const batches = [1, 8, 64, 256];
const CHECKED_ROWS = 16;
const PROMPT = 8192;
/** Different tokens of each sequence whose logits are penalised. */
const COUNTED = 1000;

/** Tokens that are added to each sequence of a batch. */
interface Added {
  readonly rows: number;
  readonly tokens: number;
  /** A prompt that begins a sequence, which clears its counts; otherwise tokens that were generated. */
  readonly prompt: boolean;
}

export const countTokensCases: Cases = (geometry) => [
  ...batches.map((rows) => counting(geometry, { rows, tokens: 1, prompt: false })),
  counting(geometry, { rows: 1, tokens: PROMPT, prompt: true }),
];

function counting(geometry: Geometry, added: Added): KernelCase {
  const { vocab } = geometry;
  const { rows, tokens, prompt } = added;
  const checked = Math.min(rows, CHECKED_ROWS);
  const nameOf = (count: number) => `vocab ${vocab}, ${prompt ? `prompt of ${tokens}` : `B=${count}`}`;
  const build =
    (count: number): Build =>
    (inputs) => {
      const counts = zeros(inputs, count, vocab);
      return { launch: counter(inputs, counts, { ...added, rows: count }), outputs: { counts } };
    };
  return {
    op: "count_tokens",
    name: nameOf(rows),
    geometry,
    tokens: rows * tokens,
    stateDtype: null,
    // The table's row and the ids; all counts cleared for a prompt, else one read and written for each token.
    bytes: rows * WORD * (COUNTED_ROW_WORDS + tokens + (prompt ? vocab : 2 * tokens)),
    // An addition, or setting a bit.
    flops: rows * tokens,
    timed: build(rows),
    checked: build(checked),
    checkedName: nameOf(checked),
  };
}

export const applyPenaltiesCases: Cases = (geometry) =>
  batches.map((rows): KernelCase => {
    const { vocab } = geometry;
    const checked = Math.min(rows, CHECKED_ROWS);
    const nameOf = (count: number) => `vocab ${vocab}, B=${count}, ${COUNTED} counted`;
    return {
      op: "apply_penalties",
      name: nameOf(rows),
      geometry,
      tokens: rows,
      stateDtype: null,
      // All counts, and the logits of counted tokens in and out.
      bytes: rows * (vocab * WORD + 2 * COUNTED * FLOAT + PENALTY_ROW_WORDS * WORD),
      // A comparison of each count; a factor, a product with the count and two subtractions of each counted token.
      flops: rows * (vocab + 4 * COUNTED),
      timed: penalising(geometry, rows),
      checked: penalising(geometry, checked),
      checkedName: nameOf(checked),
    };
  });

function penalising({ vocab }: Geometry, rows: number): Build {
  return (inputs) => {
    const counts = zeros(inputs, rows, vocab);
    counter(inputs, counts, { rows, tokens: COUNTED, prompt: false })();
    const words = new Int32Array(rows * PENALTY_ROW_WORDS);
    const floats = new Float32Array(words.buffer);
    for (let row = 0; row < rows; row++) {
      words[row * PENALTY_ROW_WORDS] = rows - 1 - row;
      floats.set([1.1, 0.5, 0.25], row * PENALTY_ROW_WORDS + 1);
    }
    const table = inputs.words(words, [rows, PENALTY_ROW_WORDS]);
    const logits = inputs.normal("f32", [rows, vocab]);
    return { launch: () => applyPenalties(inputs.stream, { logits, counts, rows: table }), outputs: { logits } };
  };
}

function zeros(inputs: Inputs, rows: number, vocab: number): Tensor {
  const counts = inputs.output("i32", [rows, vocab]);
  inputs.stream.fill(counts, 0);
  return counts;
}

/** Slots are handed out backwards. A step that shares no factor with the vocabulary's size: few tokens are there twice. */
function counter(inputs: Inputs, counts: Tensor, { rows, tokens, prompt }: Added): () => void {
  const ids = inputs.words(Array.from({ length: rows * tokens }, (_, i) => (i * 7919 + 13) % counts.size(1)));
  const table = Array.from({ length: rows }, (_, row) => [
    rows - 1 - row,
    row * tokens,
    tokens,
    prompt ? tokens : 0,
    prompt ? 1 : 0,
  ]);
  const words = inputs.words(table.flat(), [rows, COUNTED_ROW_WORDS]);
  return () => countTokens(inputs.stream, { counts, tokens: ids, rows: words });
}
