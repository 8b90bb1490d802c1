#pragma once
// Products of few rows of x with a weight, out[m, n] = x[m, k] W[n, k]^T: both 16-bit floats of one type, sums in
// float.
//
// Idea. The weight is read once and everything else is small, so the kernel is a copy that ends in registers. Rows of
// the weight are operand A of m16n8k16 (rows of x, padded to eight, are B): the products cost nothing beside the bytes.
// The weight is row-major, so that the library reads the same copy for more rows. In one step of 32 of k, lane 4 g + t
// loads the 16 bytes of row g at k = 8 t, and those of row g + 8: four lanes take 64 bytes of a row, other warps of the
// block the bytes beside them. The registers are operand A of two products if k is numbered so that the first takes
// elements 0 to 3 of each eight and the second 4 to 7; a lane's part of B for both is the 16 bytes of x as they lie.
//
// Mapping. A block owns 16 outputs and all of k, or, where n is small, a share of k in a cluster. Its eight warps take
// steps in turn with a few in flight; sums over warps through shared memory, over blocks through that of the cluster's
// first, in a fixed order that depends on n and k alone. Blocks are many and short: others hide their start and end.
// With an early start a block's first loads (32 KB, so all of a small weight) are under way when its inputs come.
//
// Bound. Bytes: 2 n k. Measured on an H200 in chains of a model's in_proj and out_proj, a clean L2, us: m = 1 122.6 (24
// pairs of 130m, 46 were they only read), 348 (16 of 2.7b, 302), 428 (8 of 7b, 408); m = 8 135, 368, 440. A weight
// packed in the order of the operands gives 133, 360, 411 and 139, 369, 419: no reason for a second copy. Alone and at
// m = 16 this is 2 to 8% behind the library at lm_heads and ahead in chains. The rest is in native/lab/linear.cu.
#include <cuda_runtime.h>

#include "cuda/cluster.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/linear.h"

namespace mamba::cuda {

constexpr int kTileRows = 16, kStepK = 32;

__host__ __device__ constexpr int row_tiles(int64_t n) { return static_cast<int>((n + kTileRows - 1) / kTileRows); }
__host__ __device__ constexpr int steps_of(int64_t k) { return static_cast<int>((k + kStepK - 1) / kStepK); }

__device__ __forceinline__ uint4 load_weight(const void* at) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(at));
  return v;
}

// Eight elements of x. Ordinary loads: in a chain the launch before writes x.
template <bool Vector>
__device__ __forceinline__ uint4 load_x(const void* at) {
  if constexpr (Vector) {
    uint4 v;
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at)
                 : "memory");
    return v;
  }
  uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    words[i / 2] |= static_cast<uint32_t>(static_cast<const volatile uint16_t*>(at)[i]) << (i % 2 * 16);
  }
  return {words[0], words[1], words[2], words[3]};
}

// Where a lane's operands of a step lie, and how far it may read. The weight has rows up to a whole block, and a row
// beyond the last of x is that last one: what they give is not written.
template <bool Whole, int Columns>
struct FragSource {
  const char* weight;  // row g of the block's first tile
  uint32_t eight_rows;
  const char* x_rows[Columns];
  int limit;  // of k, less the lane's place in a step; in bytes

  __device__ __forceinline__ FragSource(const LinearParams& p, int first_tile, int64_t first_x, int end_step) {
    const int lane = threadIdx.x % 32, group = lane / 4, place = lane % 4 * 16;
    eight_rows = static_cast<uint32_t>(p.k) * 16;
    weight = static_cast<const char*>(p.weight) + (int64_t{first_tile} * kTileRows + group) * p.k * 2 + place;
#pragma unroll
    for (int i = 0; i < Columns; ++i) {
      const int64_t row = min(first_x + i * 8 + group, p.m - 1);
      x_rows[i] = static_cast<const char*>(p.x) + row * p.x_stride * 2 + place;
    }
    limit = min(static_cast<int>(p.k), end_step * kStepK) * 2 - place;
  }

  // Eight rows of a weight's tile, or of x, at `k` (in bytes). Beyond the limit nothing is loaded; without whole steps
  // it may lie within one, which then has zeros.
  __device__ __forceinline__ void load_weights(uint4& to, int eight, int k) const {
    if (k < limit) {
      to = load_weight(weight + (eight * eight_rows + k));
    } else if constexpr (!Whole) {
      to = {0, 0, 0, 0};
    }
  }
  __device__ __forceinline__ void load_rows(uint4& to, int eight, int k) const {
    if (k < limit) {
      to = load_x<Whole>(x_rows[eight] + k);
    } else if constexpr (!Whole) {
      to = {0, 0, 0, 0};
    }
  }
};

// What a product is added to.
__device__ __forceinline__ float load_out(const LinearParams& p, int64_t row, int64_t n) {
  return p.accumulate && row < p.m && n < p.n ? load_any(p.out, p.out_dtype, row * p.out_stride + n) : 0.0f;
}

__device__ __forceinline__ void write_out(const LinearParams& p, int64_t row, int64_t n, float value) {
  if (n >= p.n) return;
  if (p.bias) value += __ldg(p.bias + n);
  store_any(p.out, p.out_dtype, row * p.out_stride + n, value);
}

template <class T>
__device__ __forceinline__ void multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                                         uint32_t b1) {
#define MAMBA_MMA(TYPE)                                                               \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE                 \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                       \
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1))
  if constexpr (std::is_same_v<T, bf16>) {
    MAMBA_MMA("bf16");
  } else {
    MAMBA_MMA("f16");
  }
#undef MAMBA_MMA
}

// One step: `low` and `high` are a lane's 16 bytes of rows g and g + 8.
template <class T>
__device__ __forceinline__ void multiply_step(float (&d)[4], const uint4& low, const uint4& high, const uint4& x) {
  multiply<T>(d, low.x, high.x, low.y, high.y, x.x, x.y);
  multiply<T>(d, low.z, high.z, low.w, high.w, x.z, x.w);
}

// d of a lane lies at rows lane / 4 and + 8 of the weight, columns (rows of x) 2 (lane % 4) and + 1. In memory a tile
// of sums is [column][row].
template <int Columns>
__device__ __forceinline__ void put_sums(float* to, const float (&d)[Columns][4], int lane) {
#pragma unroll
  for (int c = 0; c < Columns; ++c) {
    float* at = to + (c * 8 + lane % 4 * 2) * kTileRows + lane / 4;
    at[0] = d[c][0], at[kTileRows] = d[c][1], at[8] = d[c][2], at[kTileRows + 8] = d[c][3];
  }
}

// Adds the sums of warps, then those of the blocks of a cluster (they split k), each in order. A block has Tiles x
// Columns x 8 x 16 sums for its outputs and, after them, Extra others for all of them: extra[lane / 4] of the lanes
// with lane % 4 = 0. `sums` is shared memory for those of each warp and each block (sums_bytes). The cluster's first
// arrival is due to have been made. scale(row of x, sum_of) gets the factor of a row; sum_of(i) is the i-th of the
// extra sums.
template <int Tiles, int Columns, int Warps, int Extra = 0>
struct Sums {
  static constexpr int kTile = Columns * 8 * kTileRows, kOuts = Tiles * kTile, kSums = kOuts + Extra;
  const LinearParams& p;
  float* sums;
  int first_tile;
  int64_t first_x;
  int splits;

  __device__ __forceinline__ int64_t row_of(int i) const { return first_x + i % kTile / kTileRows; }
  __device__ __forceinline__ int64_t n_of(int i) const {
    return int64_t{first_tile + i / kTile} * kTileRows + i % kTileRows;
  }

  // The old value of the thread's first output: in flight while the product is computed.
  __device__ __forceinline__ float load_first_out() const {
    const int i = threadIdx.x;
    return i < kOuts && cluster_rank() == 0 ? load_out(p, row_of(i), n_of(i)) : 0.0f;
  }

  template <class Scale>
  __device__ __forceinline__ void finish(const float (&acc)[Tiles][Columns][4], const float* extra, float first_out,
                                         Scale scale) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < Tiles; ++i) put_sums(sums + warp * kSums + i * kTile, acc[i], lane);
    if constexpr (Extra > 0) {
#pragma unroll
      for (int i = 0; i < Extra / 8; ++i) {
        if (lane % 4 == 0) sums[warp * kSums + kOuts + i * 8 + lane / 4] = extra[i];
      }
    }
    __syncthreads();
    const auto each = [&](int count, auto put) {
      for (int i = threadIdx.x; i < count; i += Warps * 32) {
        if (i >= kOuts || row_of(i) < p.m) put(i);
      }
    };
    const auto block_sum = [&](int i) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < Warps; ++w) sum += sums[w * kSums + i];
      return sum;
    };
    const auto write = [&](int i, auto sum_of) {
      const float product =
          p.alpha * sum_of(i) * scale([&](int row) { return sum_of(kOuts + row); }, i % kTile / kTileRows);
      const float before = i < Warps * 32 ? first_out : load_out(p, row_of(i), n_of(i));
      write_out(p, row_of(i), n_of(i), product + before);
    };
    if (splits == 1) {
      each(kOuts, [&](int i) { write(i, block_sum); });
      return;
    }
    float* of_blocks = sums + Warps * kSums;
    const int rank = static_cast<int>(cluster_rank());
    cluster_wait();  // all blocks have started
    each(kSums, [&](int i) { store_to_first(of_blocks + rank * kSums + i, block_sum(i)); });
    cluster_arrive();
    cluster_wait();
    if (rank > 0) return;
    each(kOuts, [&](int i) {
      write(i, [&](int at) {
        float sum = 0;
        for (int r = 0; r < splits; ++r) sum += of_blocks[r * kSums + at];
        return sum;
      });
    });
  }
};

constexpr size_t sums_bytes(int tiles, int columns, int warps, int splits, int extra = 0) {
  return size_t{4} * (tiles * columns * 8 * kTileRows + extra) * (warps + (splits > 1 ? splits : 0));
}

// Blocks that share a tile's k, in a cluster: until there are enough of them, each with work for all of its warps.
inline int splits_of(const LinearParams& p, int warps, const Context& context) {
  int splits = 1;
  if (!context.clusters()) return splits;
  while (splits < 8 && row_tiles(p.n) * splits < 3 * context.multiprocessors / 2 &&
         steps_of(p.k) >= 2 * splits * warps) {
    splits *= 2;
  }
  return splits;
}

// Loads on their way take room in the L1, and a kernel with much shared memory leaves a multiprocessor with little of
// it to those after it that have no preference: `out` of Nemotron-nano-9b-v2 took 50 us instead of 24 in a step whose
// attention had large blocks on all of them. `bytes`: a block's shared memory.
template <class Kernel>
cudaError_t prefer_l1(Kernel kernel, size_t bytes, int blocks) {
  constexpr size_t kReserved = 2 << 10, kLargest = 228 << 10;  // of each block; of a multiprocessor
  const size_t percent = (100 * static_cast<size_t>(blocks) * (bytes + kReserved) + kLargest - 1) / kLargest;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, static_cast<int>(percent));
}

constexpr int kStepBytes = kStepK * 2;

// A block owns Tiles x 16 outputs of 8 Columns rows of x. Depth steps are in flight in each warp. Whole: x can be read
// in vectors, and k in steps.
template <class T, bool Whole, int Columns, int Tiles, int Warps, int Depth, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    linear_frag_kernel(const __grid_constant__ LinearParams p, int splits) {
  extern __shared__ __align__(16) uint8_t frag_memory[];
  const int first_tile = blockIdx.x / splits * Tiles, rank = blockIdx.x % splits;
  const int64_t first_x = int64_t{blockIdx.y} * Columns * 8;
  const int steps = steps_of(p.k), begin = steps * rank / splits, end = steps * (rank + 1) / splits;
  if (splits > 1) cluster_arrive();
  const Sums<Tiles, Columns, Warps> sums = {p, reinterpret_cast<float*>(frag_memory), first_tile, first_x, splits};
  const FragSource<Whole, Columns> source(p, first_tile, first_x, end);
  uint4 w[Depth][Tiles][2], x[Depth][Columns];
  const auto fetch = [&](int d, int k) {
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
#pragma unroll
      for (int h = 0; h < 2; ++h) source.load_weights(w[d][i][h], 2 * i + h, k);
    }
  };
  const auto fetch_x = [&](int d, int k) {
#pragma unroll
    for (int i = 0; i < Columns; ++i) source.load_rows(x[d][i], i, k);
  };
  constexpr int kTurn = Warps * kStepBytes;
  int k = (begin + static_cast<int>(threadIdx.x) / 32) * kStepBytes;
#pragma unroll
  for (int d = 0; d < Depth; ++d) fetch(d, k + d * kTurn);
  let_next_start();
  wait_for_inputs();
#pragma unroll
  for (int d = 0; d < Depth; ++d) fetch_x(d, k + d * kTurn);
  const float first_out = sums.load_first_out();
  float acc[Tiles][Columns][4] = {};
  for (; k < end * kStepBytes; k += Depth * kTurn) {
#pragma unroll
    for (int d = 0; d < Depth; ++d) {
      if (k + d * kTurn >= end * kStepBytes) break;
#pragma unroll
      for (int i = 0; i < Tiles; ++i) {
#pragma unroll
        for (int j = 0; j < Columns; ++j) multiply_step<T>(acc[i][j], w[d][i][0], w[d][i][1], x[d][j]);
      }
      fetch(d, k + (d + Depth) * kTurn);
      fetch_x(d, k + (d + Depth) * kTurn);
    }
  }
  sums.finish(acc, nullptr, first_out, [](auto, int) { return 1.0f; });
}

}  // namespace mamba::cuda
