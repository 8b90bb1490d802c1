#pragma once
// d[64 x N] += a b over 16, N any multiple of 8 up to 256: both operands from shared memory, both contiguous along the
// sum (describe_along_sum in hopper.cuh). Where a sum lies: hopper_sums.cuh.
#include "cuda/hopper.cuh"

namespace mamba::hopper {

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
__device__ __forceinline__ void multiply_add(float (&d)[kN / 2], uint64_t a, uint64_t b) {
  static_assert(kN % 8 == 0 && kN >= 8 && kN <= 256);
  MAMBA_PRODUCT_OF(8, 4, 4, 5)
  MAMBA_PRODUCT_OF(16, 8, 8, 9)
  MAMBA_PRODUCT_OF(24, 12, 12, 13)
  MAMBA_PRODUCT_OF(32, 16, 16, 17)
  MAMBA_PRODUCT_OF(40, 20, 20, 21)
  MAMBA_PRODUCT_OF(48, 24, 24, 25)
  MAMBA_PRODUCT_OF(56, 28, 28, 29)
  MAMBA_PRODUCT_OF(64, 32, 32, 33)
  MAMBA_PRODUCT_OF(72, 36, 36, 37)
  MAMBA_PRODUCT_OF(80, 40, 40, 41)
  MAMBA_PRODUCT_OF(88, 44, 44, 45)
  MAMBA_PRODUCT_OF(96, 48, 48, 49)
  MAMBA_PRODUCT_OF(104, 52, 52, 53)
  MAMBA_PRODUCT_OF(112, 56, 56, 57)
  MAMBA_PRODUCT_OF(120, 60, 60, 61)
  MAMBA_PRODUCT_OF(128, 64, 64, 65)
  MAMBA_PRODUCT_OF(136, 68, 68, 69)
  MAMBA_PRODUCT_OF(144, 72, 72, 73)
  MAMBA_PRODUCT_OF(152, 76, 76, 77)
  MAMBA_PRODUCT_OF(160, 80, 80, 81)
  MAMBA_PRODUCT_OF(168, 84, 84, 85)
  MAMBA_PRODUCT_OF(176, 88, 88, 89)
  MAMBA_PRODUCT_OF(184, 92, 92, 93)
  MAMBA_PRODUCT_OF(192, 96, 96, 97)
  MAMBA_PRODUCT_OF(200, 100, 100, 101)
  MAMBA_PRODUCT_OF(208, 104, 104, 105)
  MAMBA_PRODUCT_OF(216, 108, 108, 109)
  MAMBA_PRODUCT_OF(224, 112, 112, 113)
  MAMBA_PRODUCT_OF(232, 116, 116, 117)
  MAMBA_PRODUCT_OF(240, 120, 120, 121)
  MAMBA_PRODUCT_OF(248, 124, 124, 125)
  MAMBA_PRODUCT_OF(256, 128, 128, 129)
}

#undef MAMBA_PRODUCT_OF
#undef MAMBA_PRODUCT

}  // namespace mamba::hopper
