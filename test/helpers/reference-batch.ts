import type { Sequence } from "../../src/engine/policy/sequence";
import type { RowPrefix } from "../../src/engine/policy/step-plan";
import type { WrittenStep } from "./step-fields";

interface Row extends Partial<RowPrefix> {
  readonly sequence: Sequence;
  readonly start: number;
  readonly numTokens: number;
}

/**
 * The metadata of a step by its definition, token by token: every packed token knows its row and its position, and blocks
 * and chunks begin at the tokens that say so. Rows may come in any order; none is empty.
 */
export function referenceBatch(rows: readonly Row[], chunkSize: number, blockSize: number): WrittenStep {
  const isDecode = (row: Row) => row.start >= row.sequence.numToPrefill;
  const prefills = rows.filter((row) => !isDecode(row));
  const decodes = rows.filter(isDecode);
  const tokensOf = (list: readonly Row[]) =>
    list.flatMap((row, index) =>
      Array.from({ length: row.numTokens }, (_, i) => ({ row, index, position: row.start + i })),
    );
  const prefillTokens = tokensOf(prefills);
  const tokens = [...prefillTokens, ...tokensOf(decodes)];

  const indices = prefillTokens.map((_, i) => i);
  const isFirst = (i: number) => prefillTokens[i]!.position === prefillTokens[i]!.row.start;
  const chunkStarts = indices.filter((i) => isFirst(i) || prefillTokens[i]!.position % chunkSize === 0);
  const blocks = prefillTokens
    .map(({ row, index, position }) => ({ index, offset: position - row.start }))
    .filter(({ offset }) => offset % blockSize === 0);
  const slotAfter = (i: number) =>
    prefillTokens[i]?.row.snapshots?.find(({ position }) => position === prefillTokens[i]!.position + 1)?.slot;
  const kept = indices.filter((i) => slotAfter(i) !== undefined);
  const restored = [...prefills, ...decodes].filter(({ restoredFrom = -1 }) => restoredFrom >= 0);
  const chunkSeq = chunkStarts.map((i) => prefillTokens[i]!.index);
  const draws = tokens
    .map(({ row, position }, i) => ({ row, i, next: position + 1 }))
    .filter(({ row, next }) => next === row.sequence.tokens.length);

  const isPenalised = ({ sequence }: Row) => sequence.request.sampling.penalties !== undefined;
  const penalised = rows.some(isPenalised);
  const counted = penalised ? [...prefills, ...decodes] : [];
  const firstToken = new Map<Row, number>();
  for (const [i, { row }] of tokens.entries()) if (!firstToken.has(row)) firstToken.set(row, i);
  return {
    countedRows: counted.flatMap((row) => {
      const own = tokens.slice(firstToken.get(row)).filter((token) => token.row === row);
      const prompt = own.filter(({ position }) => position < row.sequence.request.prompt.length);
      const slot = isPenalised(row) ? row.sequence.slot : -1;
      return [slot, firstToken.get(row)!, own.length, prompt.length, row.start === 0 ? 1 : 0];
    }),
    penalties: draws.filter(() => penalised).flatMap(({ row }) => [...penaltyWords(row.sequence)]),
    decodeSlots: decodes.map((row) => row.sequence.slot),
    replays: decodes.flatMap(() => [0, 0, 0]),
    lag: [],
    drawRows: draws.map(({ i }) => i),
    sampling: draws.flatMap(({ row, next }) => [...samplingWords(row.sequence, next)]),
    inputIds: tokens.map(({ row, position }) => row.sequence.tokens[position]!),
    queryStartLoc: prefills.length === 0 ? [] : [...indices.filter(isFirst), prefillTokens.length],
    prefillSlots: prefills.map((row) => row.sequence.slot),
    hasInitialState: prefills.map((row) => Math.sign(row.start)),
    lastChunk: prefills.map((_, index) => chunkSeq.lastIndexOf(index)),
    blockSeq: blocks.map(({ index }) => index),
    blockOffset: blocks.map(({ offset }) => offset / blockSize),
    cuChunkSeqlens: prefills.length === 0 ? [] : [...chunkStarts, prefillTokens.length],
    chunkSeq,
    chunkSlots: chunkStarts.map((_, chunk) => slotAfter((chunkStarts[chunk + 1] ?? prefillTokens.length) - 1) ?? -1),
    snapshotEnds: kept.map((i) => i + 1),
    snapshotSlots: kept.map((i) => slotAfter(i)!),
    restoredFrom: restored.map((row) => row.restoredFrom!),
    restoredTo: restored.map((row) => row.sequence.slot),
  };
}

/** The struct PenaltyRow. */
function penaltyWords({ slot, request }: Sequence): Int32Array {
  const { penalties } = request.sampling;
  const row = new DataView(new ArrayBuffer(16));
  row.setInt32(0, penalties === undefined ? -1 : slot, true);
  row.setFloat32(4, penalties?.repetition ?? 1, true);
  row.setFloat32(8, penalties?.presence ?? 0, true);
  row.setFloat32(12, penalties?.frequency ?? 0, true);
  return new Int32Array(row.buffer);
}

/** The struct SamplingRow, written byte by byte. */
function samplingWords(sequence: Sequence, position: number): Int32Array {
  const { temperature, topK, topP, minP, seed } = sequence.request.sampling;
  const row = new DataView(new ArrayBuffer(32));
  row.setFloat32(0, temperature, true);
  row.setInt32(4, topK, true);
  row.setFloat32(8, topP, true);
  row.setFloat32(12, minP, true);
  row.setBigUint64(16, seed, true);
  row.setInt32(24, position, true);
  return new Int32Array(row.buffer);
}
