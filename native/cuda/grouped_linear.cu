// grouped_linear. An expert's weight is row-major [n, k], as linear's. Kernels:
//   fragments  few rows of each expert (decode): the weights' bytes are all of the time
//   walk       more rows, 16-bit operands, on a Hopper GPU: grouped_linear_walk.cuh
//   tiles      the same on others: grouped_linear_tiles.cuh
//   general    what neither takes: floats, two types, an odd k, no alignment
// Which rows an expert has is known on the device alone: a launch has as many blocks as there can be tiles, and each
// finds its own from the offsets. Sums are taken in an order that depends on k alone: within one kernel a row has the
// same bits whatever rows lie beside it. A deterministic stream keeps to walk, whose shapes have one order of sums, or
// to tiles where that takes no such operands.
#include <algorithm>

#include "cuda/dispatch.h"
#include "cuda/grouped_linear.cuh"
#include "cuda/grouped_linear_tiles.cuh"
#include "cuda/grouped_linear_walk.h"
#include "cuda/kernels.h"
#include "cuda/linear.cuh"
#include "cuda/quantized_linear.h"

namespace mamba::cuda {
namespace grouped {
namespace {

constexpr int64_t kLongestRow = 1 << 26;  // elements, for 32-bit offsets of bytes within a block's rows
constexpr int64_t kFewRows = 64;

// --- general --------------------------------------------------------------------------------------------------------
// CUDA cores: a block has 16 rows x 64 columns of out, a thread one row and four columns; 16 of k at a time lie in
// shared memory as floats. Sums are taken in the order of k.
constexpr int kGeneralRows = 16, kGeneralColumns = 64, kGeneralThreads = kGeneralRows * kGeneralColumns / 4;

template <bool kGated>
__global__ void __launch_bounds__(kGeneralThreads)
    general_kernel(const __grid_constant__ GroupedLinearParams p, int64_t expert_bytes, int first_tile) {
  constexpr int kM = kGeneralRows, kN = kGeneralColumns, kK = 16, kPad = 4, kProducts = kGated ? 2 : 1;
  __shared__ __align__(16) float xs[kK][kM + kPad], ws[kProducts][kK][kN + kPad];
  let_next_start();
  wait_for_inputs();
  Rows tile;
  if (!find_tile(p, first_tile + static_cast<int>(blockIdx.y), kM, tile)) return;
  const void* weight = weight_of(p, tile.expert, expert_bytes);
  const int64_t first_n = int64_t{blockIdx.x} * kN;
  const int along_k = threadIdx.x % kK, along_rows = threadIdx.x / kK;  // while loading
  const int column = threadIdx.x % 16, row = threadIdx.x / 16;
  const int64_t x_row = row_of_x(p, tile.begin + min(along_rows, tile.count - 1)) * p.x_stride;
  float sums[kProducts][4] = {};
  for (int64_t k = 0; k < p.k; k += kK) {
    const bool inside = k + along_k < p.k;
    xs[along_k][along_rows] = inside ? load_any(p.x, p.x_dtype, x_row + k + along_k) : 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t n = first_n + i * 16 + along_rows;
#pragma unroll
      for (int j = 0; j < kProducts; ++j) {
        ws[j][along_k][i * 16 + along_rows] =
            inside && n < p.columns ? load_any(weight, p.weight_dtype, (n + j * p.columns) * p.k + k + along_k) : 0.0f;
      }
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kK; ++c) {
#pragma unroll
      for (int j = 0; j < kProducts; ++j) {
        const Vec<float, 4> w = load<4>(&ws[j][c][column * 4]);
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[j][i] = fmaf(xs[c][row], w.elements[i], sums[j][i]);
      }
    }
    __syncthreads();
  }
  if (row >= tile.count) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t n = first_n + column * 4 + i;
    if (n >= p.columns) continue;
    const float value = finished(p.activation, sums[0][i]);
    write(p, tile.begin + row, n, kGated ? value * sums[kProducts - 1][i] : value);
  }
}

void run_general(const GroupedLinearParams& p, int64_t expert_bytes, Context& context) {
  const int64_t columns = ceil_div(p.columns, kGeneralColumns), tiles = most_tiles(p, kGeneralRows);
  for (int64_t first = 0; first < tiles; first += kMostBlocksYZ) {
    launch(context, {.grid = {columns, std::min(tiles - first, kMostBlocksYZ)}, .block = kGeneralThreads},
           p.gated ? general_kernel<true> : general_kernel<false>, p, expert_bytes, static_cast<int>(first));
  }
}

// --- fragments ------------------------------------------------------------------------------------------------------
// linear.cuh's kernel, with the rows of x gathered: a block owns 16 columns of out for eight rows of an expert, reads
// 16 rows of its weight (with a gate as many of the up-projection), and its warps take steps of k in turn.
template <class T, bool kGated, int Warps, int Depth, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    fragments_kernel(const __grid_constant__ GroupedLinearParams p, int64_t expert_bytes) {
  constexpr int kProducts = kGated ? 2 : 1, kSums = 8 * kTileRows;
  __shared__ float sums[Warps][kProducts][kSums];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, place = lane % 4 * 16;
  let_next_start();
  wait_for_inputs();
  Rows tile;
  if (!find_tile(p, blockIdx.y, 8, tile)) return;
  const int64_t first_n = int64_t{blockIdx.x} * kTileRows;
  const char* weight = weight_of(p, tile.expert, expert_bytes) + (first_n + group) * p.k * 2 + place;
  const uint32_t eight_rows = static_cast<uint32_t>(p.k) * 16;
  const int64_t up = p.n / 2 * p.k * 2;
  constexpr int kTurn = Warps * kStepK * 2;
  const int end = static_cast<int>(p.k) * 2;
  uint4 w[Depth][kProducts][2], x[Depth];
  const auto fetch = [&](int d, int k) {
    if (k >= end) return;
#pragma unroll
    for (int j = 0; j < kProducts; ++j) {
      w[d][j][0] = load_weight(weight + j * up + k);
      w[d][j][1] = load_weight(weight + j * up + (eight_rows + k));
    }
  };
  int k = warp * kStepK * 2;
#pragma unroll
  for (int d = 0; d < Depth; ++d) fetch(d, k + d * kTurn);
  // Only now, for which row it is has to be loaded first.
  const char* x_row =
      static_cast<const char*>(p.x) + row_of_x(p, tile.begin + min(group, tile.count - 1)) * p.x_stride * 2 + place;
  const auto fetch_x = [&](int d, int k) {
    if (k < end) x[d] = load_x<true>(x_row + k);
  };
#pragma unroll
  for (int d = 0; d < Depth; ++d) fetch_x(d, k + d * kTurn);
  float acc[kProducts][1][4] = {};
  for (; k < end; k += Depth * kTurn) {
#pragma unroll
    for (int d = 0; d < Depth; ++d) {
      if (k + d * kTurn >= end) break;
#pragma unroll
      for (int j = 0; j < kProducts; ++j) multiply_step<T>(acc[j][0], w[d][j][0], w[d][j][1], x[d]);
      fetch(d, k + (d + Depth) * kTurn);
      fetch_x(d, k + (d + Depth) * kTurn);
    }
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

template <class T, int Warps = 4, int Depth = 4, int Blocks = 6>
void run_fragments(const GroupedLinearParams& p, int64_t expert_bytes, Context& context) {
  const Grid grid(row_tiles(p.columns), most_tiles(p, 8));
  const LaunchShape shape = {.grid = grid, .block = Warps * 32};
  p.gated ? launch(context, shape, fragments_kernel<T, true, Warps, Depth / 2, Blocks>, p, expert_bytes)
          : launch(context, shape, fragments_kernel<T, false, Warps, Depth, Blocks>, p, expert_bytes);
}

// --- tiles ----------------------------------------------------------------------------------------------------------
template <class T>
void run_tiles(const GroupedLinearParams& p, int64_t expert_bytes, Context& context) {
  const int64_t columns = p.gated ? kTileN / 2 : kTileN;
  const Grid grid(ceil_div(p.columns, columns), most_tiles(p, kTileM));
  launch(context, {.grid = grid, .block = kTileThreads, .shared_bytes = kTileStages * kTileStageBytes},
         p.gated ? tiles_kernel<T, true> : tiles_kernel<T, false>, p, expert_bytes);
}

}  // namespace
}  // namespace grouped

void run_grouped_linear(const GroupedLinearParams& p, Context& context) {
  using namespace grouped;
  if (is_code(p.weight_dtype)) return run_grouped_quantized(p, context);
  const auto expert_bytes = static_cast<int64_t>(linear_weight_bytes(p.n, p.k, p.weight_dtype));
  const bool halves = p.x_dtype == p.weight_dtype && p.x_dtype != DType::f32 && p.k % 8 == 0 && p.k <= kLongestRow &&
                      rows_of_eights(p.x, p.x_stride) && aligned(p.weight);
  if (!halves || most_tiles(p, kTileM) > kMostBlocksYZ) return run_general(p, expert_bytes, context);
  const bool wide = p.x_dtype == DType::bf16;
  const auto fragments = [&] {
    wide ? run_fragments<bf16>(p, expert_bytes, context) : run_fragments<f16>(p, expert_bytes, context);
  };
  const auto tiles = [&] {
    wide ? run_tiles<bf16>(p, expert_bytes, context) : run_tiles<f16>(p, expert_bytes, context);
  };
  if (context.deterministic) {
    if (!run_grouped_linear_walk(p, expert_bytes, context)) tiles();
    return;
  }
  // A weight is read once for each eight rows of its expert.
  const bool whole_steps = p.k % kStepK == 0 && most_tiles(p, 8) <= kMostBlocksYZ;
  if (whole_steps && p.rows <= kFewRows) return fragments();
  if (run_grouped_linear_walk(p, expert_bytes, context)) return;
  if (whole_steps && p.rows <= 4 * p.experts) return fragments();
  tiles();
}

}  // namespace mamba::cuda
