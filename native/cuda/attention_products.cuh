#pragma once
// Warpgroup products of the widths that attention has: scores (both operands from shared memory, contiguous along the
// sum) and sums of values (weights from registers, values across the sum). Where a sum lies: hopper_sums.cuh.
#include "cuda/hopper.cuh"

namespace mamba::hopper {

#define MAMBA_ALONG(N, TYPE, SUMS, A, B, P)                                                            \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #P                                                 \
               ", 0;\n"                                                                                \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" MAMBA_NAMES_##SUMS \
               "}, %" #A ", %" #B ", p, 1, 1, 0, 0;\n}\n"                                              \
               : MAMBA_SUMS_##SUMS                                                                     \
               : "l"(a), "l"(b), "r"(accumulate))
#define MAMBA_ALONG_OF(N, SUMS, A, B, P)         \
  if constexpr (kN == N) {                       \
    if constexpr (__is_same(T, __nv_bfloat16)) { \
      MAMBA_ALONG(N, "bf16", SUMS, A, B, P);     \
    } else {                                     \
      MAMBA_ALONG(N, "f16", SUMS, A, B, P);      \
    }                                            \
  }

// d[64 x kN] (+)= a b over 16.
template <class T, int kN>
__device__ __forceinline__ void multiply_along(float (&d)[kN / 2], uint64_t a, uint64_t b, int accumulate) {
  static_assert(kN == 64 || kN == 80 || kN == 96 || kN == 112 || kN == 128 || kN == 160 || kN == 176 || kN == 192);
  MAMBA_ALONG_OF(64, 32, 32, 33, 34)
  MAMBA_ALONG_OF(80, 40, 40, 41, 42)
  MAMBA_ALONG_OF(96, 48, 48, 49, 50)
  MAMBA_ALONG_OF(112, 56, 56, 57, 58)
  MAMBA_ALONG_OF(128, 64, 64, 65, 66)
  MAMBA_ALONG_OF(160, 80, 80, 81, 82)
  MAMBA_ALONG_OF(176, 88, 88, 89, 90)
  MAMBA_ALONG_OF(192, 96, 96, 97, 98)
}
#undef MAMBA_ALONG_OF
#undef MAMBA_ALONG

#define MAMBA_ACROSS(N, TYPE, SUMS, A0, A1, A2, A3, B)                                                 \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" MAMBA_NAMES_##SUMS \
               "}, {%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #B ", 1, 1, 1, 1;\n"                   \
               : MAMBA_SUMS_##SUMS                                                                     \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
#define MAMBA_ACROSS_OF(N, SUMS, A0, A1, A2, A3, B)     \
  if constexpr (kN == N) {                              \
    if constexpr (__is_same(T, __nv_bfloat16)) {        \
      MAMBA_ACROSS(N, "bf16", SUMS, A0, A1, A2, A3, B); \
    } else {                                            \
      MAMBA_ACROSS(N, "f16", SUMS, A0, A1, A2, A3, B);  \
    }                                                   \
  }

// d[64 x kN] += a b over 16; a: four registers.
template <class T, int kN>
__device__ __forceinline__ void multiply_across(float (&d)[kN / 2], const uint32_t* a, uint64_t b) {
  static_assert(kN == 64 || kN == 80 || kN == 96 || kN == 112 || kN == 128 || kN == 160 || kN == 192 || kN == 224 ||
                kN == 256);
  MAMBA_ACROSS_OF(64, 32, 32, 33, 34, 35, 36)
  MAMBA_ACROSS_OF(80, 40, 40, 41, 42, 43, 44)
  MAMBA_ACROSS_OF(96, 48, 48, 49, 50, 51, 52)
  MAMBA_ACROSS_OF(112, 56, 56, 57, 58, 59, 60)
  MAMBA_ACROSS_OF(128, 64, 64, 65, 66, 67, 68)
  MAMBA_ACROSS_OF(160, 80, 80, 81, 82, 83, 84)
  MAMBA_ACROSS_OF(192, 96, 96, 97, 98, 99, 100)
  MAMBA_ACROSS_OF(224, 112, 112, 113, 114, 115, 116)
  MAMBA_ACROSS_OF(256, 128, 128, 129, 130, 131, 132)
}
#undef MAMBA_ACROSS_OF
#undef MAMBA_ACROSS

}  // namespace mamba::hopper
