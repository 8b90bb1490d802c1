#pragma once
// grouped_linear with weights of codes: quantized_linear.cuh's products, with the rows of x gathered. A block owns 16
// columns of out for eight rows of an expert (with a gate also as many of the up-projection); its warps take steps of k
// in turn. A weight is read once for each eight rows of its expert: bound by its bytes where these are few.
#include "cuda/grouped_linear.cuh"
#include "cuda/quantized_linear.cuh"

namespace mamba::cuda::grouped {

template <class T, DType C, bool kGated, int Warps, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    quantized_kernel(const __grid_constant__ GroupedLinearParams p, int64_t expert_bytes) {
  constexpr int kProducts = kGated ? 2 : 1, kSums = 8 * kTileRows;
  __shared__ float sums[Warps][kProducts][kSums];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  let_next_start();
  wait_for_inputs();
  Rows tile;
  if (!find_tile(p, blockIdx.y, 8, tile)) return;
  const int64_t first_n = int64_t{blockIdx.x} * kTileRows;
  const int steps = static_cast<int>(codes::steps_of(p.k));
  const auto* weight = reinterpret_cast<const uint8_t*>(weight_of(p, tile.expert, expert_bytes)) +
                       int64_t{blockIdx.x} * steps * codes::block_bytes(C);
  const int64_t up = p.n / 2 / kTileRows * steps * codes::block_bytes(C);
  codes::BlockRegisters<C> blocks[kProducts];
  codes::StepOfX<C, 1> x;
  x.end = static_cast<int>(p.k);
  x.rows[0] = static_cast<const char*>(p.x) + row_of_x(p, tile.begin + min(lane / 4, tile.count - 1)) * p.x_stride * 2;
  const auto fetch = [&](int step) {
    if (step >= steps) return;
#pragma unroll
    for (int j = 0; j < kProducts; ++j) blocks[j].load(weight + j * up + int64_t{step} * codes::block_bytes(C));
    x.fetch(step * codes::kStep);
  };
  fetch(warp);
  float acc[kProducts][1][4] = {};
  for (int step = warp; step < steps; step += Warps) {
    codes::multiply_block<T, C, 1, kProducts>(acc, blocks, x);
    fetch(step + Warps);
  }
#pragma unroll
  for (int j = 0; j < kProducts; ++j) put_sums(sums[warp][j], acc[j], lane);
  __syncthreads();
  for (int i = threadIdx.x; i < kSums; i += Warps * 32) {
    const int row = i / kTileRows;
    const int64_t n = first_n + i % kTileRows;
    if (row >= tile.count || n >= p.columns) continue;
    float total[kProducts] = {};
#pragma unroll
    for (int s = 0; s < Warps; ++s) {
#pragma unroll
      for (int j = 0; j < kProducts; ++j) total[j] += sums[s][j][i];
    }
    const float value = finished(p.activation, total[0]);
    write(p, tile.begin + row, n, kGated ? value * total[kProducts - 1] : value);
  }
}

// A warp for each output, over k: floats, an odd k, no alignment, a gate whose halves share a tile.
constexpr int kGeneralWarps = 8;

template <bool kGated>
__global__ void __launch_bounds__(kGeneralWarps * 32)
    quantized_general_kernel(const __grid_constant__ GroupedLinearParams p, int64_t expert_bytes, int first_tile) {
  constexpr int kProducts = kGated ? 2 : 1;
  let_next_start();
  wait_for_inputs();
  Rows tile;
  if (!find_tile(p, first_tile + static_cast<int>(blockIdx.y), 8, tile)) return;
  const char* weight = weight_of(p, tile.expert, expert_bytes);
  const int64_t n = int64_t{blockIdx.x} * kGeneralWarps + threadIdx.x / 32;
  if (n >= p.columns) return;
  for (int row = tile.begin; row < tile.begin + tile.count; ++row) {
    const int64_t x = row_of_x(p, row) * p.x_stride;
    float sums[kProducts] = {};
    for (int64_t k = threadIdx.x % 32; k < p.k; k += 32) {
      const float value = load_any(p.x, p.x_dtype, x + k);
#pragma unroll
      for (int j = 0; j < kProducts; ++j) {
        sums[j] = fmaf(codes::value_at(weight, p.weight_dtype, p.k, n + j * p.columns, k), value, sums[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kProducts; ++j) sums[j] = warp_sum(sums[j]);
    const float value = finished(p.activation, sums[0]);
    if (threadIdx.x % 32 == 0) write(p, row, n, kGated ? value * sums[kProducts - 1] : value);
  }
}

}  // namespace mamba::cuda::grouped
