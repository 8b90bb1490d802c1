/** How much there is to do in a step. */
export interface StepLoad {
  readonly tokens: number;
  readonly sequences: number;
  /** Tokens that each sequence has before the step. */
  readonly context: number;
}

/** What a step has to move and to calculate at least. */
export interface Work {
  readonly bytes: number;
  readonly flops: number;
}

export function sumWork(parts: readonly Work[]): Work {
  return parts.reduce((sum, { bytes, flops }) => ({ bytes: sum.bytes + bytes, flops: sum.flops + flops }), {
    bytes: 0,
    flops: 0,
  });
}
