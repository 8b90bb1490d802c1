/** Element types, in the order of native/core/dtype.h. */
export const dtypes = ["f32", "bf16", "f16", "i32", "u8"] as const;
export type DType = (typeof dtypes)[number];

const bytes: Record<DType, number> = { f32: 4, bf16: 2, f16: 2, i32: 4, u8: 1 };

export const sizeOf = (dtype: DType): number => bytes[dtype];
export const codeOf = (dtype: DType): number => dtypes.indexOf(dtype);
