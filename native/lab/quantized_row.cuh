#pragma once
// One row of x in shared memory as operands beside blocks of codes (cuda/codes.cuh), and the products of both.
//
// Idea. A product of codes with one row waits for instructions before it waits for bytes, if each code becomes a float:
// so codes stay what they are as far as the matrix unit allows.
//   i8, u4  integers. x is fixed point of 16 bits with a scale for 32 of k, its high and low bytes two columns of
//           m16n8k32: their sums are exact. A column pair has x in one of a step's four products and zeros in the
//           others, so that after all four lane t has the sums of group t, and scales one number for each of its rows.
//           u4 of odd groups are high nibbles: 16 times what they mean, which the scale makes up for.
//   e4m3    f16, as the conversion gives them. x is f16 with a power of two for each step, so that no bit of bf16 is
//           lost.
// Offsets (u4) multiply sums of x, which are made once as the row is put.
//
// Layout. Blocks of i8 and e4m3 are the backend's. Of u4 nibbles of a byte are 32 of k apart, so that a mask makes
// bytes of codes that share a scale: each 16 bytes of a block are arranged anew (arrange_for_row_kernel). The row:
// [steps of 128 of k] of 256 bytes, then [steps] of factors.
//   i8, u4  [4 groups][high, low][4 lanes t][8 bytes]: k = 8 t + {0, 2, 1, 3, 4, 6, 5, 7} of a group. Factors: scales
//           f32 [4]; u4: (scale, sum of x) [4].
//   e4m3    f16 [4][4 lanes t][8]: the same order. Factors: f32.
#include "cuda/codes.cuh"
#include "cuda/mma.cuh"
#include "cuda/vec.cuh"

namespace mamba::cuda::codes {

constexpr int kRowStep = kStep * 2;  // bytes of a step of the row
__host__ __device__ constexpr int factors_of(DType type) { return type == DType::u4 ? 8 : type == DType::i8 ? 4 : 1; }

// Words of the backend's have the eight codes of 32 of k: code c is nibble c / 2 + c % 2 * 4. Here word 2 i + c / 4 has
// four codes of 64 i and four of 64 i + 32, in the order of bytes 0, 2, 1, 3; the first are low nibbles.
__global__ void __launch_bounds__(256) arrange_for_row_kernel(uint8_t* weight, int64_t blocks) {
  constexpr int kPieces = code_bytes_of(DType::u4) / 16;
  const int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (i >= blocks * kPieces) return;
  auto* at = reinterpret_cast<uint4*>(weight + i / kPieces * block_bytes(DType::u4) + i % kPieces * 16);
  const uint4 v = *at;
  const uint32_t from[4] = {v.x, v.y, v.z, v.w};
  uint32_t to[4] = {0, 0, 0, 0};
#pragma unroll
  for (int s = 0; s < 4; ++s) {
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      const uint32_t code = from[s] >> (c / 2 + c % 2 * 4) * 4 & 15u;
      to[s / 2 * 2 + c / 4] |= code << ((c % 4 / 2 + c % 2 * 2) * 8 + s % 2 * 4);
    }
  }
  *at = {to[0], to[1], to[2], to[3]};
}

// The larger magnitude; NaN if one is.
__device__ __forceinline__ float larger(float a, float b) {
  float most;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(most) : "f"(a), "f"(b));
  return most;
}

// Four bytes, byte `which` of each.
__device__ __forceinline__ uint32_t bytes_of(int a, int b, int c, int d, int which) {
  const uint32_t pick = which * 0x11 + 0x40;
  return __byte_perm(__byte_perm(a, b, pick), __byte_perm(c, d, pick), 0x5410);
}

// Eight values of the row, the v-th; by whole warps.
template <DType C>
__device__ __forceinline__ void put_values(uint8_t* row, float* factors, uint32_t v, const float (&values)[8],
                                           bool within) {
  const uint32_t step = v / 16, t = v % 4, s = v % 16 / 4;
  float most = fabsf(values[0]);
#pragma unroll
  for (int i = 1; i < 8; ++i) most = larger(most, fabsf(values[i]));
#pragma unroll
  for (int lane = 1; lane < (C == DType::e4m3 ? 16 : 4); lane *= 2)
    most = larger(most, __shfl_xor_sync(~0u, most, lane));
  if constexpr (C == DType::e4m3) {
    // The largest becomes 2^14 to 2^15.
    const uint32_t exponent = max(__float_as_uint(most) >> 23, 15u);
    const float factor = __uint_as_float((268u - exponent) << 23);
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int first = i / 2 * 4 + i % 2;
      const __half2 pair = __floats2half2_rn(values[first] * factor, values[first + 2] * factor);
      words[i] = *reinterpret_cast<const uint32_t*>(&pair);
    }
    if (!within) return;
    *reinterpret_cast<uint4*>(row + step * kRowStep + v % 16 * 16) = {words[0], words[1], words[2], words[3]};
    if (v % 16 == 0) factors[step] = __uint_as_float((exponent - 14u) << 23);
  } else {
    constexpr float kMost = 32639;  // whose bytes, both signed, are 127 and 127
    most = larger(most, 1e-30f);
    const float factor = __fdividef(kMost, most);
    [[maybe_unused]] float sum = 0;
    int fixed[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) fixed[i] = __float2int_rn(values[i] * factor), sum += values[i];
    uint32_t low[2], high[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int* f = fixed + 4 * h;
      low[h] = bytes_of(f[0], f[2], f[1], f[3], 0);
      high[h] = bytes_of(f[0] + 128, f[2] + 128, f[1] + 128, f[3] + 128, 1);
    }
    const float scale = most * (1 / kMost);
    if constexpr (C == DType::u4) {
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
    }
    if (!within) return;
    uint8_t* to = row + step * kRowStep + s * 64 + t * 8;
    *reinterpret_cast<uint2*>(to) = {high[0], high[1]};
    *reinterpret_cast<uint2*>(to + 32) = {low[0], low[1]};
    if (t > 0) return;
    if constexpr (C == DType::u4) {
      reinterpret_cast<float2*>(factors)[step * 4 + s] = {s % 2 ? scale / 16 : scale, sum};
    } else {
      factors[step * 4 + s] = scale;
    }
  }
}

__device__ __forceinline__ uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Shared memory by addresses: from pointers the compiler makes them anew in each turn of a loop.
__device__ __forceinline__ uint4 load_shared(uint32_t at) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at));
  return v;
}
// The row stays as it is: these may be moved.
__device__ __forceinline__ uint4 load_row(uint32_t at) {
  uint4 v;
  asm("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at));
  return v;
}
__device__ __forceinline__ uint32_t load_shared_word(uint32_t at) {
  uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at));
  return v;
}
__device__ __forceinline__ void arrive_at(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void wait_at(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// A value that the compiler keeps rather than makes anew.
__device__ __forceinline__ uint32_t kept(uint32_t value) {
  asm volatile("" : "+r"(value));
  return value;
}

// Where a lane's parts lie: in a step of the row, in its factors, in a block of codes and in its scales.
template <DType C>
struct LanePlaces {
  uint32_t x, factor, codes, scales;

  __device__ __forceinline__ LanePlaces() {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    x = C == DType::e4m3 ? t * 16 : lane * 8;
    factor = C == DType::u4 ? t * 8 : C == DType::i8 ? t * 4 : 0;
    codes = lane * 16;
    scales = code_bytes_of(C) + (C == DType::u4 ? lane : g) * 4;
  }
};

// A lane's part of a step of the row. For integers, groups that are not its own stay zeros.
template <DType C>
struct StepOfRow {
  uint32_t words[4][2] = {};
  float2 factor = {};

  __device__ __forceinline__ void load(uint32_t x, uint32_t factors) {
    const int own = threadIdx.x % 32 / 8;
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      // In C++ it is an array with an index, which lies in memory.
      asm("{\n.reg .pred own;\nsetp.eq.s32 own, %3, %4;\n@own ld.shared.v2.u32 {%0, %1}, [%2];\n}"
          : "+r"(words[s][0]), "+r"(words[s][1])
          : "r"(x), "r"(own), "r"(s));
    }
    if constexpr (C == DType::u4) {
      asm("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(factor.x), "=f"(factor.y) : "r"(factors));
    } else {
      asm("ld.shared.f32 %0, [%1];" : "=f"(factor.x) : "r"(factors));
    }
  }
};
template <>
struct StepOfRow<DType::e4m3> {
  uint4 words[4];
  float factor;

  __device__ __forceinline__ void load(uint32_t x, uint32_t factors) {
#pragma unroll
    for (int s = 0; s < 4; ++s) words[s] = load_row(x + s * 64);
    asm("ld.shared.f32 %0, [%1];" : "=f"(factor) : "r"(factors));
  }
};

template <DType C>
__device__ __forceinline__ void multiply_codes(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#define MAMBA_MMA(TYPE)                                                         \
  asm("mma.sync.aligned.m16n8k32.row.col.s32." TYPE                             \
      ".s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                          \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
  if constexpr (C == DType::u4) {
    MAMBA_MMA("u8");
  } else {
    MAMBA_MMA("s8");
  }
#undef MAMBA_MMA
}

__device__ __forceinline__ uint32_t halves_of_e4m3(uint32_t two) {
  uint32_t pair;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"(static_cast<uint16_t>(two)));
  return pair;
}

// A block of codes as a lane has it.
template <DType C>
struct BlockOfCodes {
  static constexpr int kLoads = bits(C) == 8 ? 4 : 2;
  uint4 words[kLoads];
  uint32_t scales[2];  // of rows g and g + 8; u4: of group t

  __device__ __forceinline__ void load(uint32_t codes, uint32_t at_scales) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) words[i] = load_shared(codes + i * 512);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      scales[half] = load_shared_word(at_scales + half * (C == DType::u4 ? 128 : 32));
  }

  // sums += the block times the step: of rows g and g + 8, of integers for the groups t alone.
  __device__ __forceinline__ void multiply(float (&sums)[2], const StepOfRow<C>& x) const {
    if constexpr (C == DType::e4m3) {
      float d[2][4] = {};
#pragma unroll
      for (int s = 0; s < 4; ++s) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const uint32_t low = word_of(words[s / 2], s % 2 * 2 + h), high = word_of(words[2 + s / 2], s % 2 * 2 + h);
          const uint32_t a[4] = {halves_of_e4m3(low), halves_of_e4m3(high), halves_of_e4m3(low >> 16),
                                 halves_of_e4m3(high >> 16)};
          multiply_add<__half>(d[s % 2], a, word_of(x.words[s], 2 * h), word_of(x.words[s], 2 * h + 1));
        }
      }
      sums[0] = fmaf(__uint_as_float(scales[0]), (d[0][0] + d[1][0]) * x.factor, sums[0]);
      sums[1] = fmaf(__uint_as_float(scales[1]), (d[0][2] + d[1][2]) * x.factor, sums[1]);
    } else {
      int d[4] = {};
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        uint32_t a[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int half = i % 2, h = i / 2;
          if constexpr (C == DType::u4) {
            a[i] = word_of(words[half], s / 2 * 2 + h) & (s % 2 ? 0xf0f0f0f0u : 0x0f0f0f0fu);
          } else {
            a[i] = word_of(words[half * 2 + s / 2], s % 2 * 2 + h);
          }
        }
        multiply_codes<C>(d, a, x.words[s]);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float sum = static_cast<float>(d[2 * half] * 256 + d[2 * half + 1]) * x.factor.x;
        if constexpr (C == DType::u4) {
          const float2 by = __half22float2(*reinterpret_cast<const __half2*>(&scales[half]));
          sums[half] = fmaf(by.y, x.factor.y, fmaf(by.x, sum, sums[half]));
        } else {
          sums[half] = fmaf(__uint_as_float(scales[half]), sum, sums[half]);
        }
      }
    }
  }
};

// The sum of a row in all of its lanes, which all of them have already in e4m3.
template <DType C>
__device__ __forceinline__ float over_lanes(float sum) {
  if constexpr (C != DType::e4m3) {
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
  }
  return sum;
}

}  // namespace mamba::cuda::codes
