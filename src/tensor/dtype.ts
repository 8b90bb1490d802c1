/** Element types, in the order of native/core/dtype.h; the last four are of packed weights only. */
export const dtypes = ["f32", "bf16", "f16", "i32", "u8", "i8", "e4m3", "u4", "e2m1"] as const;
export type DType = (typeof dtypes)[number];

/** Codes of quantized weights (native/core/codes.h). */
export type CodeDtype = "i8" | "e4m3" | "u4" | "e2m1";

const bytes: Record<DType, number> = { f32: 4, bf16: 2, f16: 2, i32: 4, u8: 1, i8: 1, e4m3: 1, u4: 0.5, e2m1: 0.5 };

/** Bytes of an element; a row of codes takes whole bytes. */
export const sizeOf = (dtype: DType): number => bytes[dtype];
export const codeOf = (dtype: DType): number => dtypes.indexOf(dtype);
