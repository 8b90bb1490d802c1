/** Query tokens of a tile of attentionVarlen. */
export const attentionTileTokens = 128;
/** Tokens of a row of pagedAttention, at most. */
export const maxQueryLen = 8;
