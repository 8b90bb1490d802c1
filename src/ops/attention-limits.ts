/** Query tokens of a tile of attentionVarlen; attention_tile() of native/ops/attention.h is the same. */
export const attentionTileTokens = (headDim: number): number => (headDim <= 96 ? 192 : 128);
/** Tokens of a row of pagedAttention, at most. */
export const maxQueryLen = 8;
