#pragma once
// d[64 x N] += a b over 16 for the widths N that linear_rows.cuh has: both operands from shared memory, both contiguous
// along the sum (describe_along_sum in hopper.cuh). Row r of a warp's sixteen lies in lanes 4 r (+ 8: r % 8), elements
// 4 j + 2 (r / 8) and the next are its columns 8 j + 2 (lane % 4) and the next.
#include "cuda/hopper.cuh"

namespace mamba::hopper {

#define MAMBA_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define MAMBA_NAMES_16 MAMBA_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define MAMBA_NAMES_24 MAMBA_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define MAMBA_NAMES_28 MAMBA_NAMES_24 ", %24, %25, %26, %27"
#define MAMBA_NAMES_32 MAMBA_NAMES_28 ", %28, %29, %30, %31"
#define MAMBA_NAMES_36 MAMBA_NAMES_32 ", %32, %33, %34, %35"
#define MAMBA_NAMES_40 MAMBA_NAMES_36 ", %36, %37, %38, %39"
#define MAMBA_NAMES_48 MAMBA_NAMES_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define MAMBA_SUMS_8 MAMBA_F8(d, 0)
#define MAMBA_SUMS_16 MAMBA_SUMS_8, MAMBA_F8(d, 8)
#define MAMBA_SUMS_24 MAMBA_SUMS_16, MAMBA_F8(d, 16)
#define MAMBA_SUMS_28 MAMBA_SUMS_24, MAMBA_F4(d, 24)
#define MAMBA_SUMS_32 MAMBA_SUMS_28, MAMBA_F4(d, 28)
#define MAMBA_SUMS_36 MAMBA_SUMS_32, MAMBA_F4(d, 32)
#define MAMBA_SUMS_40 MAMBA_SUMS_36, MAMBA_F4(d, 36)
#define MAMBA_SUMS_48 MAMBA_SUMS_40, MAMBA_F8(d, 40)
#define MAMBA_PRODUCT(N, TYPE, SUMS, A, B)                                                             \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" MAMBA_NAMES_##SUMS \
               "}, %" #A ", %" #B ", 1, 1, 1, 0, 0;\n"                                                 \
               : MAMBA_SUMS_##SUMS                                                                     \
               : "l"(a), "l"(b))
#define MAMBA_PRODUCT_OF(N, SUMS, A, B)          \
  if constexpr (kN == N) {                       \
    if constexpr (__is_same(T, __nv_bfloat16)) { \
      MAMBA_PRODUCT(N, "bf16", SUMS, A, B);      \
    } else {                                     \
      MAMBA_PRODUCT(N, "f16", SUMS, A, B);       \
    }                                            \
  }

template <class T, int kN>
__device__ __forceinline__ void multiply_add_rows(float (&d)[kN / 2], uint64_t a, uint64_t b) {
  static_assert(kN == 32 || kN == 48 || kN == 56 || kN == 64 || kN == 72 || kN == 80 || kN == 96);
  MAMBA_PRODUCT_OF(32, 16, 16, 17)
  MAMBA_PRODUCT_OF(48, 24, 24, 25)
  MAMBA_PRODUCT_OF(56, 28, 28, 29)
  MAMBA_PRODUCT_OF(64, 32, 32, 33)
  MAMBA_PRODUCT_OF(72, 36, 36, 37)
  MAMBA_PRODUCT_OF(80, 40, 40, 41)
  MAMBA_PRODUCT_OF(96, 48, 48, 49)
}

#undef MAMBA_PRODUCT_OF
#undef MAMBA_PRODUCT

}  // namespace mamba::hopper
