import type { ScheduledBatch, ScheduledRow } from "./policy/step-plan";

/** What is done to logits before they are drawn from, for the rows of a step that ask for it. R drawn tokens. */
export interface DrawShape {
  /** Allowed tokens: table [masks, words], a bit for each token, and rows [R] with the mask of each draw, -1 = all. */
  readonly masks: { readonly table: Int32Array; readonly rows: Int32Array } | null;
  /** Added to single logits, all [entries]: of draw rows[e], token tokens[e]. */
  readonly bias: { readonly rows: Int32Array; readonly tokens: Int32Array; readonly values: Float32Array } | null;
}

/** Writes the shapes of steps. Most have none. */
export class DrawShaper {
  /** 32-bit words of a mask. */
  readonly words: number;

  constructor(vocabSize: number) {
    this.words = Math.ceil(vocabSize / 32);
  }

  /** Null where every row draws from all tokens as the model has them. */
  shape(batch: ScheduledBatch): DrawShape | null {
    const draws = batch.rows.filter((row) => row.samples);
    const masks: Int32Array[] = [];
    const maskRows = new Int32Array(draws.length).fill(-1);
    const bias: { row: number; token: number; value: number }[] = [];
    for (const [row, draw] of draws.entries()) {
      const mask = this.maskOf(draw);
      if (mask !== null) maskRows[row] = masks.push(mask) - 1;
      for (const [token, value] of draw.sequence.request.logitBias ?? []) bias.push({ row, token, value });
    }
    if (masks.length === 0 && bias.length === 0) return null;
    return {
      masks: masks.length === 0 ? null : { table: this.tableOf(masks), rows: maskRows },
      bias:
        bias.length === 0
          ? null
          : {
              rows: Int32Array.from(bias, ({ row }) => row),
              tokens: Int32Array.from(bias, ({ token }) => token),
              values: Float32Array.from(bias, ({ value }) => value),
            },
    };
  }

  private tableOf(masks: readonly Int32Array[]): Int32Array {
    const table = new Int32Array(masks.length * this.words);
    for (const [i, mask] of masks.entries()) table.set(mask, i * this.words);
    return table;
  }

  /** What the constraint allows; without what would end the output, while it is too short and something else is allowed. */
  private maskOf({ sequence, start, numTokens }: ScheduledRow): Int32Array | null {
    const { request, constraint } = sequence;
    const tooShort = start + numTokens - request.prompt.length < (request.minTokens ?? 0);
    if (constraint === null && !tooShort) return null;
    const mask = new Int32Array(this.words);
    if (constraint === null) mask.fill(-1);
    else constraint.mask(mask, 0);
    if (!tooShort) return mask;
    const longer = mask.slice();
    for (const id of request.stopTokenIds) if (id >>> 5 < longer.length) longer[id >>> 5]! &= ~(1 << (id & 31));
    return longer.some((word) => word !== 0) ? longer : mask;
  }
}

/** Whether a row may draw from less, or with a bias. Where none does, a step has no DrawShape. */
export const shapesDraw = ({ sequence: { request, constraint }, samples }: ScheduledRow): boolean =>
  samples && (constraint !== null || request.logitBias !== undefined || request.minTokens !== undefined);
