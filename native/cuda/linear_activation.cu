// linear_activation: an MLP's projection up and its activation, one launch for few rows and a large weight: up to 8
// rows here, more in linear_rows.cuh; and for more than 64 where linear_walk.cuh was measured to be faster.
//
// Idea. linear.cuh's kernel, whose block has all of an output's products: it can finish them. With a gate a block reads
// 16 rows of the gate and as many of the up-projection. The decode step of an MLP loses a launch and the products their
// trip through memory, where they would be rounded.
//
// Mapping, layout. As in linear.cuh: eight warps take steps of k in turn and their sums meet in shared memory, in
// order.
//
// Bound. The weight's bytes.
#include "cuda/activation.cuh"
#include "cuda/gemm_plans.h"
#include "cuda/kernels.h"
#include "cuda/linear.cuh"
#include "cuda/linear_rows.h"
#include "ops/linear_activation.h"

namespace mamba::cuda {
namespace {

constexpr int64_t kFewRows = 8;            // one tile of rows
constexpr int64_t kLongestRow = 64 << 10;  // elements, for 32-bit offsets of bytes

template <class T, bool kGated, int Warps, int Depth, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    activated_frag_kernel(const __grid_constant__ LinearActivationParams params) {
  constexpr int kProducts = kGated ? 2 : 1, kSums = 8 * kTileRows;
  __shared__ float sums[Warps][kProducts][kSums];
  const LinearParams& p = params.linear;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, place = lane % 4 * 16;
  const int64_t first_n = int64_t{blockIdx.x} * kTileRows, width = params.activation.width;
  const char* rows[kProducts][2];
#pragma unroll
  for (int j = 0; j < kProducts; ++j) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t row = j * width + min(first_n + h * 8 + group, width - 1);
      rows[j][h] = static_cast<const char*>(p.weight) + row * p.k * 2 + place;
    }
  }
  const char* x_row = static_cast<const char*>(p.x) + min(int64_t{group}, p.m - 1) * p.x_stride * 2 + place;
  constexpr int kTurn = Warps * kStepBytes;
  const int end = static_cast<int>(p.k) * 2;
  uint4 w[Depth][kProducts][2], x[Depth];
  const auto fetch = [&](int d, int k) {
    if (k >= end) return;
#pragma unroll
    for (int j = 0; j < kProducts; ++j) {
      w[d][j][0] = load_weight(rows[j][0] + k);
      w[d][j][1] = load_weight(rows[j][1] + k);
    }
  };
  const auto fetch_x = [&](int d, int k) {
    if (k < end) x[d] = load_x<true>(x_row + k);
  };
  int k = warp * kStepBytes;
#pragma unroll
  for (int d = 0; d < Depth; ++d) fetch(d, k + d * kTurn);
  let_next_start();
  wait_for_inputs();
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
    if (row >= p.m || n >= width) continue;
    float total[kProducts] = {};
#pragma unroll
    for (int s = 0; s < Warps; ++s) {
#pragma unroll
      for (int j = 0; j < kProducts; ++j) total[j] += sums[s][j][i];
    }
    float value;
    with_activation(params.activation.activation, [&]<Activation kActivation> {
      value = activated<kActivation>(total[0] * params.activation.scale);
    });
    if constexpr (kGated) value *= total[1];
    static_cast<T*>(p.out)[row * p.out_stride + n] = rounded<T>(value);
  }
}

// Fewer blocks would leave multiprocessors out, or share k in clusters.
bool fits(const LinearActivationParams& params, const Context& context) {
  const LinearParams& p = params.linear;
  return p.m <= kFewRows && p.x_dtype != DType::f32 && p.weight_dtype == p.x_dtype && p.k % kStepK == 0 &&
         p.k <= kLongestRow && row_tiles(params.activation.width) >= 3 * context.multiprocessors && aligned(p.weight) &&
         rows_of_eights(p.x, p.m == 1 ? 0 : p.x_stride);
}

template <class T>
void run_activated(const LinearActivationParams& p, Context& context) {
  constexpr int kWarps = 8, kBlocks = 3;
  const LaunchShape shape = {.grid = row_tiles(p.activation.width), .block = kWarps * 32};
  const auto gated = activated_frag_kernel<T, true, kWarps, 2, kBlocks>;
  const auto alone = activated_frag_kernel<T, false, kWarps, 4, kBlocks>;
  static thread_local const cudaError_t mostly_l1[] = {prefer_l1(alone, sums_bytes(1, 1, kWarps, 1), kBlocks),
                                                       prefer_l1(gated, sums_bytes(2, 1, kWarps, 1), kBlocks)};
  for (const cudaError_t status : mostly_l1) check(status, "L1 of a multiprocessor");
  launch(context, shape, p.activation.up ? gated : alone, p);
}

}  // namespace

void run_linear_activation(const LinearActivationParams& p, Context& context) {
  // Which it is depends on the rows, and so do the roundings.
  if (!context.deterministic) {
    if (fits(p, context)) {
      return p.linear.x_dtype == DType::bf16 ? run_activated<bf16>(p, context) : run_activated<f16>(p, context);
    }
    if (run_linear_rows_activation(p, context) || context.gemm_plans->run(p, context)) return;
  }
  run_linear(p.linear, context);
  run_activation(p.activation, context);
}

}  // namespace mamba::cuda
