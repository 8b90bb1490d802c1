#pragma once
// Products of rows of x, 16-bit floats, with a weight of codes (codes.cuh).
//
// Idea. linear.cuh's kernel: the weight is operand A of m16n8k16, rows of x are B, and the bytes of the weight are the
// time. Codes become operands in registers, exactly; their scales multiply sums of products as floats, each time those
// of a group are complete. Offsets (u4) multiply sums of x, which one more product with ones gives.
//
// Mapping. A block owns Tiles x 16 outputs for 8 Columns rows of x and all of k, or a share of it in a cluster; its
// warps take steps of 128 in turn, with Depth in flight. Sums over warps and blocks as linear.cuh's: their order
// depends on n and k alone.
//
// Bound. Bytes: codes and scales, 8.25 or 5 bits for each value.
#include "cuda/codes.cuh"
#include "cuda/linear.cuh"
#include "cuda/mma.cuh"

namespace mamba::cuda::codes {

template <DType C>
struct BlockRegisters {
  static constexpr int kLoads = bits(C) == 8 ? 4 : 2;
  uint4 words[kLoads];
  // For rows g and g + 8: floats, or the words of all groups of the step.
  uint4 scales[2];

  template <bool kShared = false>
  __device__ __forceinline__ void load(const uint8_t* block) {
    const int lane = threadIdx.x % 32;
    const auto read = [](const auto* from) {
      if constexpr (kShared) {
        return *from;
      } else {
        return __ldg(from);
      }
    };
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const uint8_t* from = block + i * 512 + lane * 16;
      words[i] = kShared ? *reinterpret_cast<const uint4*>(from) : load_weight(from);
    }
    const uint8_t* at = block + code_bytes_of(C);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + 8 * half;
      if constexpr (bits(C) == 8) {
        scales[half].x = read(reinterpret_cast<const uint32_t*>(at) + row);
      } else {
        scales[half] = read(reinterpret_cast<const uint4*>(at) + row);
      }
    }
  }

  // Operands of product h (0 or 1) of the 32 of k with this number.
  template <class T>
  __device__ __forceinline__ void operand(int segment, int h, uint32_t (&a)[4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4& v = words[bits(C) == 8 ? half * 2 + segment / 2 : half];
      const int word = bits(C) == 8 ? segment % 2 * 2 + h : segment;
      const uint32_t w = word == 0 ? v.x : word == 1 ? v.y : word == 2 ? v.z : v.w;
      operands<T, C>(w, h, a[half], a[2 + half]);
    }
  }

  __device__ __forceinline__ uint32_t scale_word(int half, int i) const {
    const uint4& v = scales[half];
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
  }
};

// What a lane multiplies of a row of x, of the 32 from k on; zeros past the end, which is a multiple of eight.
template <DType C>
__device__ __forceinline__ uint4 x_operands(const char* row, int k, int end) {
  const int t = threadIdx.x % 4;
  if constexpr (C == DType::e2m1) {
    k += 4 * t;  // and 16 further
    const uint2 low = k < end ? *reinterpret_cast<const uint2*>(row + 2 * k) : uint2{0, 0};
    const uint2 high = k + 16 < end ? *reinterpret_cast<const uint2*>(row + 2 * (k + 16)) : uint2{0, 0};
    return {low.x, low.y, high.x, high.y};
  } else {
    k += 8 * t;
    return k < end ? *reinterpret_cast<const uint4*>(row + 2 * k) : uint4{0, 0, 0, 0};
  }
}

// All of a step. Few rows are fetched ahead, more would take the registers.
template <DType C, int Columns>
struct StepOfX {
  static constexpr bool kAhead = Columns <= 2;
  const char* rows[Columns];
  int end, first_k = 0;
  uint4 parts[kAhead ? Columns : 1][kStep / 32];

  __device__ __forceinline__ void fetch(int k) {
    first_k = k;
    if constexpr (kAhead) {
#pragma unroll
      for (int j = 0; j < Columns; ++j) {
#pragma unroll
        for (int s = 0; s < kStep / 32; ++s) parts[j][s] = x_operands<C>(rows[j], k + s * 32, end);
      }
    }
  }
  __device__ __forceinline__ uint4 part(int j, int s) const {
    if constexpr (kAhead) {
      return parts[j][s];
    } else {
      return x_operands<C>(rows[j], first_k + s * 32, end);
    }
  }
};

// multiply_add of mma.cuh, which the compiler may move among loads.
template <class T>
__device__ __forceinline__ void product(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_add<std::conditional_t<std::is_same_v<T, bf16>, __nv_bfloat16, __half>>(d, a, b0, b1);
}

template <class T>
inline constexpr uint32_t kOnes = std::is_same_v<T, bf16> ? 0x3f803f80u : 0x3c003c00u;

// sums += scales * products, of rows g (the first two) and g + 8.
__device__ __forceinline__ void add_scaled(float (&sums)[4], const float (&products)[4], float low, float high) {
  sums[0] = fmaf(low, products[0], sums[0]), sums[1] = fmaf(low, products[1], sums[1]);
  sums[2] = fmaf(high, products[2], sums[2]), sums[3] = fmaf(high, products[3], sums[3]);
}

// One step: all products of a block with rows of x, which x.part() gives as StepOfX has it.
template <class T, DType C, int Columns, int Tiles, class StepX>
__device__ __forceinline__ void multiply_block(float (&acc)[Tiles][Columns][4], const BlockRegisters<C> (&block)[Tiles],
                                               const StepX& x) {
  [[maybe_unused]] float whole[Tiles][Columns][4] = {};  // of a scale for all of the step
#pragma unroll
  for (int s = 0; s < kStep / 32; ++s) {
    uint4 v[Columns];
#pragma unroll
    for (int j = 0; j < Columns; ++j) v[j] = x.part(j, s);
    [[maybe_unused]] float totals[Columns][4] = {};
    if constexpr (C == DType::u4) {
#pragma unroll
      for (int j = 0; j < Columns; ++j) {
        constexpr uint32_t ones[4] = {kOnes<T>, kOnes<T>, kOnes<T>, kOnes<T>};
        product<T>(totals[j], ones, v[j].x, v[j].y);
        product<T>(totals[j], ones, v[j].z, v[j].w);
      }
    }
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
      [[maybe_unused]] float part[Columns][4] = {};
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        uint32_t a[4];
        block[i].template operand<T>(s, h, a);
#pragma unroll
        for (int j = 0; j < Columns; ++j) {
          float(&d)[4] = bits(C) == 8 ? whole[i][j] : part[j];
          product<T>(d, a, h == 0 ? v[j].x : v[j].z, h == 0 ? v[j].y : v[j].w);
        }
        if constexpr (C == DType::e2m1) {
          // Group 2 s + h: half of a word.
          const uint32_t low = block[i].scale_word(0, s), high = block[i].scale_word(1, s);
          const float scale = __uint_as_float(h == 0 ? low << 16 : low & 0xffff0000u);
          const float other = __uint_as_float(h == 0 ? high << 16 : high & 0xffff0000u);
#pragma unroll
          for (int j = 0; j < Columns; ++j) {
            add_scaled(acc[i][j], part[j], scale, other);
            part[j][0] = part[j][1] = part[j][2] = part[j][3] = 0;
          }
        }
      }
      if constexpr (C == DType::u4) {
        const auto halves = [&](int half) {
          const uint32_t word = block[i].scale_word(half, s);
          return __half22float2(*reinterpret_cast<const __half2*>(&word));
        };
        const float2 low = halves(0), high = halves(1);
        const float low_offset = fmaf(-kBias<T, C>, low.x, low.y), high_offset = fmaf(-kBias<T, C>, high.x, high.y);
#pragma unroll
        for (int j = 0; j < Columns; ++j) {
          add_scaled(acc[i][j], part[j], low.x, high.x);
          add_scaled(acc[i][j], totals[j], low_offset, high_offset);
        }
      }
    }
  }
  if constexpr (bits(C) == 8) {
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
#pragma unroll
      for (int j = 0; j < Columns; ++j) {
        add_scaled(acc[i][j], whole[i][j], __uint_as_float(block[i].scales[0].x),
                   __uint_as_float(block[i].scales[1].x));
      }
    }
  }
}

template <class T, DType C, int Columns, int Tiles, int Warps, int Depth, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    quantized_kernel(const __grid_constant__ LinearParams p, int splits) {
  extern __shared__ __align__(16) uint8_t quantized_memory[];
  const int first_tile = blockIdx.x / splits * Tiles, rank = blockIdx.x % splits;
  const int64_t first_x = int64_t{blockIdx.y} * Columns * 8;
  const int steps = static_cast<int>(steps_of(p.k)), begin = steps * rank / splits, end = steps * (rank + 1) / splits;
  if (splits > 1) cluster_arrive();
  const Sums<Tiles, Columns, Warps> sums = {p, reinterpret_cast<float*>(quantized_memory), first_tile, first_x, splits};
  const auto* weight = static_cast<const uint8_t*>(p.weight) + int64_t{first_tile} * steps * block_bytes(C);
  BlockRegisters<C> blocks[Depth][Tiles];
  const auto fetch = [&](int d, int step) {
    if (step >= end) return;
#pragma unroll
    for (int i = 0; i < Tiles; ++i) blocks[d][i].load(weight + (int64_t{i} * steps + step) * block_bytes(C));
  };
  int step = begin + static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int d = 0; d < Depth; ++d) fetch(d, step + d * Warps);
  let_next_start();
  wait_for_inputs();
  StepOfX<C, Columns> x;
  x.end = static_cast<int>(p.k);
#pragma unroll
  for (int j = 0; j < Columns; ++j) {
    const int64_t row = min(first_x + j * 8 + static_cast<int>(threadIdx.x) % 32 / 4, p.m - 1);
    x.rows[j] = static_cast<const char*>(p.x) + row * p.x_stride * 2;
  }
  const float first_out = sums.load_first_out();
  float acc[Tiles][Columns][4] = {};
  x.fetch(step * kStep);
  for (; step < end; step += Depth * Warps) {
#pragma unroll
    for (int d = 0; d < Depth; ++d) {
      const int now = step + d * Warps;
      if (now >= end) break;
      multiply_block<T, C, Columns, Tiles>(acc, blocks[d], x);
      x.fetch((now + Warps) * kStep);
      fetch(d, now + Depth * Warps);
    }
  }
  sums.finish(acc, nullptr, first_out, [](auto, int) { return 1.0f; });
}

}  // namespace mamba::cuda::codes
