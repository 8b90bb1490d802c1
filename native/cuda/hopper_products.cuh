#pragma once
// d[64 x N] += a b over 16, N any multiple of 8 up to 256: both operands from shared memory, both contiguous along the
// sum (describe_along_sum in hopper.cuh). Row r of a warp's sixteen lies in lanes 4 (r % 8) to 4 (r % 8) + 3; elements
// 4 j + 2 (r / 8) and the next are its columns 8 j + 2 (lane % 4) and the next.
#include "cuda/hopper.cuh"

namespace mamba::hopper {

#define MAMBA_NAMES_4 "%0, %1, %2, %3"
#define MAMBA_SUMS_4 MAMBA_F4(d, 0)
#define MAMBA_NAMES_8 MAMBA_NAMES_4 ", %4, %5, %6, %7"
#define MAMBA_SUMS_8 MAMBA_SUMS_4, MAMBA_F4(d, 4)
#define MAMBA_NAMES_12 MAMBA_NAMES_8 ", %8, %9, %10, %11"
#define MAMBA_SUMS_12 MAMBA_SUMS_8, MAMBA_F4(d, 8)
#define MAMBA_NAMES_16 MAMBA_NAMES_12 ", %12, %13, %14, %15"
#define MAMBA_SUMS_16 MAMBA_SUMS_12, MAMBA_F4(d, 12)
#define MAMBA_NAMES_20 MAMBA_NAMES_16 ", %16, %17, %18, %19"
#define MAMBA_SUMS_20 MAMBA_SUMS_16, MAMBA_F4(d, 16)
#define MAMBA_NAMES_24 MAMBA_NAMES_20 ", %20, %21, %22, %23"
#define MAMBA_SUMS_24 MAMBA_SUMS_20, MAMBA_F4(d, 20)
#define MAMBA_NAMES_28 MAMBA_NAMES_24 ", %24, %25, %26, %27"
#define MAMBA_SUMS_28 MAMBA_SUMS_24, MAMBA_F4(d, 24)
#define MAMBA_NAMES_32 MAMBA_NAMES_28 ", %28, %29, %30, %31"
#define MAMBA_SUMS_32 MAMBA_SUMS_28, MAMBA_F4(d, 28)
#define MAMBA_NAMES_36 MAMBA_NAMES_32 ", %32, %33, %34, %35"
#define MAMBA_SUMS_36 MAMBA_SUMS_32, MAMBA_F4(d, 32)
#define MAMBA_NAMES_40 MAMBA_NAMES_36 ", %36, %37, %38, %39"
#define MAMBA_SUMS_40 MAMBA_SUMS_36, MAMBA_F4(d, 36)
#define MAMBA_NAMES_44 MAMBA_NAMES_40 ", %40, %41, %42, %43"
#define MAMBA_SUMS_44 MAMBA_SUMS_40, MAMBA_F4(d, 40)
#define MAMBA_NAMES_48 MAMBA_NAMES_44 ", %44, %45, %46, %47"
#define MAMBA_SUMS_48 MAMBA_SUMS_44, MAMBA_F4(d, 44)
#define MAMBA_NAMES_52 MAMBA_NAMES_48 ", %48, %49, %50, %51"
#define MAMBA_SUMS_52 MAMBA_SUMS_48, MAMBA_F4(d, 48)
#define MAMBA_NAMES_56 MAMBA_NAMES_52 ", %52, %53, %54, %55"
#define MAMBA_SUMS_56 MAMBA_SUMS_52, MAMBA_F4(d, 52)
#define MAMBA_NAMES_60 MAMBA_NAMES_56 ", %56, %57, %58, %59"
#define MAMBA_SUMS_60 MAMBA_SUMS_56, MAMBA_F4(d, 56)
#define MAMBA_NAMES_64 MAMBA_NAMES_60 ", %60, %61, %62, %63"
#define MAMBA_SUMS_64 MAMBA_SUMS_60, MAMBA_F4(d, 60)
#define MAMBA_NAMES_68 MAMBA_NAMES_64 ", %64, %65, %66, %67"
#define MAMBA_SUMS_68 MAMBA_SUMS_64, MAMBA_F4(d, 64)
#define MAMBA_NAMES_72 MAMBA_NAMES_68 ", %68, %69, %70, %71"
#define MAMBA_SUMS_72 MAMBA_SUMS_68, MAMBA_F4(d, 68)
#define MAMBA_NAMES_76 MAMBA_NAMES_72 ", %72, %73, %74, %75"
#define MAMBA_SUMS_76 MAMBA_SUMS_72, MAMBA_F4(d, 72)
#define MAMBA_NAMES_80 MAMBA_NAMES_76 ", %76, %77, %78, %79"
#define MAMBA_SUMS_80 MAMBA_SUMS_76, MAMBA_F4(d, 76)
#define MAMBA_NAMES_84 MAMBA_NAMES_80 ", %80, %81, %82, %83"
#define MAMBA_SUMS_84 MAMBA_SUMS_80, MAMBA_F4(d, 80)
#define MAMBA_NAMES_88 MAMBA_NAMES_84 ", %84, %85, %86, %87"
#define MAMBA_SUMS_88 MAMBA_SUMS_84, MAMBA_F4(d, 84)
#define MAMBA_NAMES_92 MAMBA_NAMES_88 ", %88, %89, %90, %91"
#define MAMBA_SUMS_92 MAMBA_SUMS_88, MAMBA_F4(d, 88)
#define MAMBA_NAMES_96 MAMBA_NAMES_92 ", %92, %93, %94, %95"
#define MAMBA_SUMS_96 MAMBA_SUMS_92, MAMBA_F4(d, 92)
#define MAMBA_NAMES_100 MAMBA_NAMES_96 ", %96, %97, %98, %99"
#define MAMBA_SUMS_100 MAMBA_SUMS_96, MAMBA_F4(d, 96)
#define MAMBA_NAMES_104 MAMBA_NAMES_100 ", %100, %101, %102, %103"
#define MAMBA_SUMS_104 MAMBA_SUMS_100, MAMBA_F4(d, 100)
#define MAMBA_NAMES_108 MAMBA_NAMES_104 ", %104, %105, %106, %107"
#define MAMBA_SUMS_108 MAMBA_SUMS_104, MAMBA_F4(d, 104)
#define MAMBA_NAMES_112 MAMBA_NAMES_108 ", %108, %109, %110, %111"
#define MAMBA_SUMS_112 MAMBA_SUMS_108, MAMBA_F4(d, 108)
#define MAMBA_NAMES_116 MAMBA_NAMES_112 ", %112, %113, %114, %115"
#define MAMBA_SUMS_116 MAMBA_SUMS_112, MAMBA_F4(d, 112)
#define MAMBA_NAMES_120 MAMBA_NAMES_116 ", %116, %117, %118, %119"
#define MAMBA_SUMS_120 MAMBA_SUMS_116, MAMBA_F4(d, 116)
#define MAMBA_NAMES_124 MAMBA_NAMES_120 ", %120, %121, %122, %123"
#define MAMBA_SUMS_124 MAMBA_SUMS_120, MAMBA_F4(d, 120)
#define MAMBA_NAMES_128 MAMBA_NAMES_124 ", %124, %125, %126, %127"
#define MAMBA_SUMS_128 MAMBA_SUMS_124, MAMBA_F4(d, 124)
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

#undef MAMBA_NAMES_4
#undef MAMBA_SUMS_4
#undef MAMBA_NAMES_8
#undef MAMBA_SUMS_8
#undef MAMBA_NAMES_12
#undef MAMBA_SUMS_12
#undef MAMBA_NAMES_16
#undef MAMBA_SUMS_16
#undef MAMBA_NAMES_20
#undef MAMBA_SUMS_20
#undef MAMBA_NAMES_24
#undef MAMBA_SUMS_24
#undef MAMBA_NAMES_28
#undef MAMBA_SUMS_28
#undef MAMBA_NAMES_32
#undef MAMBA_SUMS_32
#undef MAMBA_NAMES_36
#undef MAMBA_SUMS_36
#undef MAMBA_NAMES_40
#undef MAMBA_SUMS_40
#undef MAMBA_NAMES_44
#undef MAMBA_SUMS_44
#undef MAMBA_NAMES_48
#undef MAMBA_SUMS_48
#undef MAMBA_NAMES_52
#undef MAMBA_SUMS_52
#undef MAMBA_NAMES_56
#undef MAMBA_SUMS_56
#undef MAMBA_NAMES_60
#undef MAMBA_SUMS_60
#undef MAMBA_NAMES_64
#undef MAMBA_SUMS_64
#undef MAMBA_NAMES_68
#undef MAMBA_SUMS_68
#undef MAMBA_NAMES_72
#undef MAMBA_SUMS_72
#undef MAMBA_NAMES_76
#undef MAMBA_SUMS_76
#undef MAMBA_NAMES_80
#undef MAMBA_SUMS_80
#undef MAMBA_NAMES_84
#undef MAMBA_SUMS_84
#undef MAMBA_NAMES_88
#undef MAMBA_SUMS_88
#undef MAMBA_NAMES_92
#undef MAMBA_SUMS_92
#undef MAMBA_NAMES_96
#undef MAMBA_SUMS_96
#undef MAMBA_NAMES_100
#undef MAMBA_SUMS_100
#undef MAMBA_NAMES_104
#undef MAMBA_SUMS_104
#undef MAMBA_NAMES_108
#undef MAMBA_SUMS_108
#undef MAMBA_NAMES_112
#undef MAMBA_SUMS_112
#undef MAMBA_NAMES_116
#undef MAMBA_SUMS_116
#undef MAMBA_NAMES_120
#undef MAMBA_SUMS_120
#undef MAMBA_NAMES_124
#undef MAMBA_SUMS_124
#undef MAMBA_NAMES_128
#undef MAMBA_SUMS_128
#undef MAMBA_PRODUCT_OF
#undef MAMBA_PRODUCT

}  // namespace mamba::hopper
