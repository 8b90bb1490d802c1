/** What choices are called in an op's arguments; the numbers are those of native/ops. */

/** Activation of native/ops/activation.h. */
export const activationCodes = { identity: 0, silu: 1, gelu: 2, geluTanh: 3, relu2: 4, sigmoid: 5 } as const;
export type Activation = keyof typeof activationCodes;

/** RouterScore of native/ops/moe.h. */
export const routerScoreCodes = { softmax: 0, sigmoid: 1 } as const;
export type RouterScore = keyof typeof routerScoreCodes;
