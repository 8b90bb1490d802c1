#pragma once
// grouped_linear for many rows of an expert, 16-bit operands, on any GPU from sm_80 on.
//
// Idea. A block has up to 128 rows of one expert and 128 rows of its weight (with a gate 64 of it and 64 of the
// up-projection, so that both products of an output meet in one thread). Steps of 32 of k come through a ring of
// shared memory, each thread copying 16 bytes at a time; rows of x are gathered as they are copied.
//
// Layout. Rows of a stage are 64 bytes; piece c (16 bytes) of row r lies at c ^ (r / 2 % 4), so that the eight rows of
// a matrix load touch all banks. Rows past the tile's last one are that one again, and are not written.
//
// Mapping. Eight warps, 2 along rows x 4 along the weight: 64 x 32 products each, as m16n8k16. With a gate a warp's 32
// are 16 of it and 16 of the up-projection. Bound. The matrix unit.
#include "cuda/grouped_linear.cuh"
#include "cuda/hopper.cuh"
#include "cuda/linear.cuh"
#include "cuda/shared_memory.cuh"

namespace mamba::cuda::grouped {

inline constexpr int kTileM = 128, kTileN = 128, kTileK = 32, kTileStages = 4, kTileThreads = 256;
inline constexpr uint32_t kTileRowBytes = kTileK * 2, kTileStageBytes = (kTileM + kTileN) * kTileRowBytes;

__device__ __forceinline__ uint32_t tile_place(int row, int piece) {
  return static_cast<uint32_t>(row) * kTileRowBytes + static_cast<uint32_t>(piece ^ (row / 2 % 4)) * 16;
}

// The row of the weight behind row i of a block's share of it, counted from the expert's first; n or more: none.
template <bool kGated>
__device__ __forceinline__ int64_t weight_row(const GroupedLinearParams& p, int block, int i) {
  if constexpr (!kGated) return int64_t{block} * kTileN + i;
  const int64_t column = int64_t{block} * (kTileN / 2) + i / 32 * 16 + i % 16;
  return column >= p.n / 2 ? p.n : i % 32 < 16 ? column : p.n / 2 + column;
}

template <class T, bool kGated>
__global__ void __launch_bounds__(kTileThreads, 1)
    tiles_kernel(const __grid_constant__ GroupedLinearParams p, int64_t expert_bytes) {
  extern __shared__ __align__(128) uint8_t tiles_memory[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, steps = static_cast<int>((p.k + kTileK - 1) / kTileK);
  let_next_start();
  wait_for_inputs();
  Rows tile;
  if (!find_tile(p, blockIdx.y, kTileM, tile)) return;

  // What a thread copies of a stage: piece `piece` of rows `row` and row + 64, of x and of the weight.
  const int row = threadIdx.x / 4, piece = threadIdx.x % 4;
  const char *x[2], *w[2];
  bool exists[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t of_x = row_of_x(p, tile.begin + min(row + i * 64, tile.count - 1));
    x[i] = static_cast<const char*>(p.x) + (of_x * p.x_stride + piece * 8) * 2;
    const int64_t of_w = weight_row<kGated>(p, blockIdx.x, row + i * 64);
    exists[i] = of_w < p.n;
    w[i] = weight_of(p, tile.expert, expert_bytes) + ((exists[i] ? of_w : 0) * p.k + piece * 8) * 2;
  }
  const uint32_t memory = shared_address(tiles_memory);
  const auto fetch = [&](int step) {
    if (step < steps) {
      const uint32_t stage = memory + static_cast<uint32_t>(step % kTileStages) * kTileStageBytes;
      const int64_t k = int64_t{step} * kTileK;
      const bool inside = k + piece * 8 < p.k;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        copy_async(stage + tile_place(row + i * 64, piece), inside ? x[i] + k * 2 : x[i], inside ? 16 : 0);
        copy_async(stage + kTileM * kTileRowBytes + tile_place(row + i * 64, piece), inside ? w[i] + k * 2 : w[i],
                   inside && exists[i] ? 16 : 0);
      }
    }
    commit_copies();
  };
#pragma unroll
  for (int s = 0; s < kTileStages - 1; ++s) fetch(s);

  const int first_m = warp / 4 * 64, first_n = warp % 4 * 32;
  float sums[4][4][4] = {};  // [16 rows][8 rows of the weight]
  for (int step = 0; step < steps; ++step) {
    wait_for_groups<kTileStages - 2>();
    __syncthreads();
    fetch(step + kTileStages - 1);
    const uint32_t stage = memory + static_cast<uint32_t>(step % kTileStages) * kTileStageBytes;
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // 16 of k
      uint32_t a[4][4], b[2][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        hopper::load_matrices(a[i], stage + tile_place(first_m + i * 16 + lane % 16, half * 2 + lane / 16));
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        hopper::load_matrices(b[i],
                              stage + kTileM * kTileRowBytes +
                                  tile_place(first_n + i * 16 + lane / 16 * 8 + lane % 8, half * 2 + lane / 8 % 2));
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          multiply<T>(sums[i][j], a[i][0], a[i][1], a[i][2], a[i][3], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
      }
    }
  }
  wait_for_groups<0>();

  with_activation(p.activation, [&]<Activation kActivation> {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < (kGated ? 2 : 4); ++j) {
#pragma unroll
        for (int v = 0; v < 4; ++v) {
          const int m = first_m + i * 16 + v / 2 * 8 + lane / 4, n = j * 8 + lane % 4 * 2 + v % 2;
          const int64_t column = kGated ? int64_t{blockIdx.x} * (kTileN / 2) + first_n / 2 + n
                                        : int64_t{blockIdx.x} * kTileN + first_n + n;
          float value = activated<kActivation>(sums[i][j][v]);
          if constexpr (kGated) value *= sums[i][j + 2][v];
          if (m < tile.count && column < p.columns) write(p, tile.begin + m, column, value);
        }
      }
    }
  });
}

}  // namespace mamba::cuda::grouped
