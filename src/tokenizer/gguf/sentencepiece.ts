import type { JsonObject } from "../tokenizer-files";

/** What marks a space. */
const SPACE = "\u2581";

/**
 * A tokenizer of SentencePiece's BPE, as transformers writes it to tokenizer.json: pieces with their scores become merges in the
 * order of these. `unknown`: the token of what no piece spells, bytes included.
 */
export function sentencePiece(
  ids: ReadonlyMap<string, number>,
  scores: readonly number[],
  mergeable: (id: number) => boolean,
  { unknown, spaceBefore }: { readonly unknown: string | null; readonly spaceBefore: boolean },
): JsonObject {
  const replace = { type: "Replace", pattern: { String: " " }, content: SPACE };
  const strip = spaceBefore ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
  return {
    normalizer: {
      type: "Sequence",
      normalizers: spaceBefore ? [{ type: "Prepend", prepend: SPACE }, replace] : [replace],
    },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: SPACE }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...strip,
      ],
    },
    model: {
      type: "BPE",
      unk_token: unknown,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(ids),
      merges: mergesOf(ids, scores, mergeable),
    },
  };
}

/** Every way to make a piece of two others, the best piece first; of one piece, by the numbers of its parts. */
function mergesOf(
  ids: ReadonlyMap<string, number>,
  scores: readonly number[],
  mergeable: (id: number) => boolean,
): [string, string][] {
  const found: {
    readonly pair: [string, string];
    readonly score: number;
    readonly left: number;
    readonly right: number;
  }[] = [];
  for (const [piece, id] of ids) {
    if (!mergeable(id)) continue;
    const characters = [...piece];
    for (let cut = 1, left = characters[0] ?? ""; cut < characters.length; left += characters[cut++]!) {
      const right = piece.slice(left.length);
      const [leftId, rightId] = [ids.get(left), ids.get(right)];
      if (leftId === undefined || rightId === undefined) continue;
      found.push({ pair: [left, right], score: scores[id] ?? 0, left: leftId, right: rightId });
    }
  }
  found.sort((a, b) => b.score - a.score || a.left - b.left || a.right - b.right);
  return found.map(({ pair }) => pair);
}
