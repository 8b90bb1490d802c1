import { maskLogits } from "../../ops/mask";
import { isMasked, maskOf, maskWords } from "../policy/token-mask";
import { type DrawStage, uploaded } from "./stage";

/** Takes from the logits the tokens that a constraint, or an output still too short, does not allow. */
export const masks: DrawStage = {
  at: "logits",
  wants: isMasked,
  reserve(arena, { maxDraws, vocabSize }) {
    arena.tensor("i32", [maxDraws, maskWords(vocabSize)]);
    arena.tensor("i32", [maxDraws]);
  },
  launch(draw) {
    const words = maskWords(draw.logits.size(1));
    const found: Int32Array[] = [];
    const rows = new Int32Array(draw.batch.numDraws).fill(-1);
    let first = 0;
    for (const row of draw.batch.rows) {
      const mask = isMasked(row) ? maskOf(row, words) : null;
      if (mask !== null) rows.fill(found.push(mask) - 1, first, first + row.draws);
      first += row.draws;
    }
    if (found.length === 0) return;
    const table = new Int32Array(found.length * words);
    for (const [i, mask] of found.entries()) table.set(mask, i * words);
    maskLogits(draw.stream, {
      logits: draw.logits,
      masks: uploaded(draw, table, [found.length, words]),
      rows: uploaded(draw, rows),
    });
  },
};
