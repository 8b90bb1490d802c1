#pragma once
// Warpgroup products of the widths that attention has: scores (both operands from shared memory, contiguous along the
// sum) and sums of values (weights from registers, values across the sum). Row r of a warp's sixteen lies in lanes 4 (r
// % 8) on, elements 4 j + 2 (r / 8) and the next are its columns 8 j + 2 (lane % 4) and the next.
#include "cuda/hopper.cuh"

namespace mamba::hopper {

#define MAMBA_NAMES_32                                                                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, "                                                                                                          \
  "%25, %26, %27, %28, %29, %30, %31"
#define MAMBA_NAMES_40 MAMBA_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define MAMBA_NAMES_48 MAMBA_NAMES_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define MAMBA_NAMES_56 MAMBA_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define MAMBA_NAMES_64 MAMBA_NAMES_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define MAMBA_NAMES_72 MAMBA_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define MAMBA_NAMES_80 MAMBA_NAMES_72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define MAMBA_NAMES_88 MAMBA_NAMES_80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define MAMBA_NAMES_96 MAMBA_NAMES_88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define MAMBA_NAMES_104 MAMBA_NAMES_96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define MAMBA_NAMES_112 MAMBA_NAMES_104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define MAMBA_NAMES_120 MAMBA_NAMES_112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define MAMBA_NAMES_128 MAMBA_NAMES_120 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define MAMBA_SUMS_32 MAMBA_F32(d, 0)
#define MAMBA_SUMS_40 MAMBA_SUMS_32, MAMBA_F8(d, 32)
#define MAMBA_SUMS_48 MAMBA_SUMS_40, MAMBA_F8(d, 40)
#define MAMBA_SUMS_56 MAMBA_SUMS_48, MAMBA_F8(d, 48)
#define MAMBA_SUMS_64 MAMBA_SUMS_56, MAMBA_F8(d, 56)
#define MAMBA_SUMS_80 MAMBA_SUMS_64, MAMBA_F8(d, 64), MAMBA_F8(d, 72)
#define MAMBA_SUMS_88 MAMBA_SUMS_80, MAMBA_F8(d, 80)
#define MAMBA_SUMS_96 MAMBA_SUMS_88, MAMBA_F8(d, 88)
#define MAMBA_SUMS_112 MAMBA_SUMS_96, MAMBA_F8(d, 96), MAMBA_F8(d, 104)
#define MAMBA_SUMS_128 MAMBA_SUMS_112, MAMBA_F8(d, 112), MAMBA_F8(d, 120)

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
