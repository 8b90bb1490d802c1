import type { KernelCase, Op } from "./kernel-case";

const conv = (...batches: readonly string[]) => batches.map((name) => `dim 10240, ${name}`);
const ssd = (...sizes: readonly string[]) => sizes.map((name) => `H=128 P=64 N=128 G=8, ${name}`);

/** The cases that the goals of the CUDA backend are set for: the layer of codestral-7b, attention, experts, gated delta nets. */
export const judgedCases: Readonly<Partial<Record<Op, readonly string[]>>> = {
  causal_conv1d_update: conv("B=1", "B=8", "B=256", "B=1024"),
  causal_conv1d_varlen: conv("1x8192", "8x1024", "64x128", "mixed: 3x2048 + 256x1"),
  ssd_state_update: ssd(
    "B=8, bf16 state",
    "B=64, bf16 state",
    "B=256, bf16 state",
    "B=64, f32 state",
    "B=256, f32 state",
  ),
  ssd_chunk_scan: ssd("1x2048", "1x8192", "8x1024", "64x128", "1x131072"),
  attention_varlen: ["32/8 heads of 64", "32/8 heads of 80", "32/8 heads of 128", "16/2 heads of 256"].map(
    (heads) => `${heads}, 1x8192`,
  ),
  paged_attention: ["B=64, context 8192", "B=1, context 65536"].map((size) => `32/8 heads of 128, ${size}`),
  grouped_linear: ["B=1", "B=64", "B=8192"].map((size) => `up 1856x2688, 6 of 128, ${size}`),
  gdn_chunk: ["2/8 heads, K=128 V=128, 1x8192", "16/32 heads, K=128 V=128, 1x8192", "2/8 heads, K=128 V=128, 1x65536"],
  gdn_update: ["f32", "bf16"].map((dtype) => `8/16 heads, K=128 V=128, B=1024, ${dtype} state`),
};

export function isJudged({ op, name }: Pick<KernelCase, "op" | "name">): boolean {
  return judgedCases[op]?.includes(name) ?? false;
}
