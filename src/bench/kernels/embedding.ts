import { embedding } from "../../ops/embedding";
import type { Geometry } from "../geometries";
import { ACTIVATION, type Build, type Cases, FLOAT, type KernelCase } from "../kernel-case";

/** Decode batches, and a prefill. */
const batches = [1, 8, 64, 256, 8192];
const CHECKED_TOKENS = 256;
const CHECKED_VOCAB = 4096;

export const embeddingCases: Cases = (geometry) =>
  batches.map((tokens): KernelCase => {
    const { vocab, hidden } = geometry;
    const checked = { tokens: Math.min(tokens, CHECKED_TOKENS), vocab: Math.min(vocab, CHECKED_VOCAB) };
    return {
      op: "embedding",
      name: `table ${vocab}x${hidden}, B=${tokens}`,
      geometry,
      tokens,
      stateDtype: null,
      // A row of the table, and a row of the f32 residual.
      bytes: tokens * hidden * (ACTIVATION + FLOAT),
      flops: 0,
      timed: lookup(geometry, tokens),
      checked: lookup({ ...geometry, vocab: checked.vocab }, checked.tokens),
      checkedName: `table ${checked.vocab}x${hidden}, B=${checked.tokens}`,
    };
  });

function lookup({ vocab, hidden }: Geometry, tokens: number): Build {
  return (inputs) => {
    const weight = inputs.normal("bf16", [vocab, hidden]);
    // A step that shares no factor with the vocabulary's size: no row is taken twice.
    const ids = inputs.words(Array.from({ length: tokens }, (_, i) => (i * 7919 + 13) % vocab));
    const out = inputs.output("f32", [tokens, hidden]);
    return { launch: () => embedding(inputs.stream, { out, weight, ids }), outputs: { out } };
  };
}
