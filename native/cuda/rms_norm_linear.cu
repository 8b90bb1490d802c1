// rms_norm_linear: y = rms_norm(x) W^T, two launches or, for few rows, one.
//
// Idea. norm(x) W^T = (x w) W^T / rms(x) with the norm's weights w: the root mean square is one number for a row, so
// the product need not wait for it. A block of the fragments kernel (linear.cuh) reads every element of its rows
// anyway: it multiplies them by w on the way, adds up their squares, and scales its outputs at the end. The decode step
// loses a launch, and the rows a trip through memory. x w is rounded to the product's type, as norm(x) would be.
//
// Mapping, layout. As in linear.cuh; w lies in shared memory before the inputs come.
//
// Bound. The weight's bytes; but each block of 16 outputs also reads its rows as floats and w, 20 KB beside 82 KB of
// weight at k = 2560. Measured in whole decode steps at batch 1 on an H200, ms, in one launch and in two: mamba2-130m
// 0.23 and 0.24, 2.7b 2.14 and 1.90 (2.02 with 32 outputs a block), codestral-7b 4.62 and 4.09. So small weights only:
// theirs come in the time of a launch, and that is what the fusion saves.
#include <algorithm>

#include "cuda/kernels.h"
#include "cuda/linear.cuh"

namespace mamba::cuda {
namespace {

constexpr int64_t kSmallWeight = 4 << 20;  // elements
constexpr int64_t kFewRows = 8;            // one tile of rows; with two the registers do not suffice
constexpr int64_t kLongestRow = 16 << 10;  // elements: w takes as many floats of shared memory

// X: float or bf16, the type of x. Rows in [8 blockIdx.y, + 8).
template <class X, int Warps, int Depth, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    normed_frag_kernel(const __grid_constant__ RmsNormLinearParams params, int splits) {
  constexpr int kExtra = 8;
  extern __shared__ __align__(16) uint8_t normed_memory[];
  const LinearParams& p = params.linear;
  const int lane = threadIdx.x % 32, group = lane / 4, place = lane % 4 * 8;  // place: elements
  const int tile = blockIdx.x / splits, rank = blockIdx.x % splits;
  const int steps = steps_of(p.k), begin = steps * rank / splits, end = steps * (rank + 1) / splits;
  const int first_k = begin * kStepK, end_k = end * kStepK;
  if (splits > 1) cluster_arrive();
  float* norm_weight = reinterpret_cast<float*>(normed_memory);  // of the block's share of k, at most `share`
  const int share = (steps + splits - 1) / splits * kStepK;
  const Sums<1, 1, Warps, kExtra> sums = {p, norm_weight + share, tile, 0, splits};

  const char* weight = static_cast<const char*>(p.weight) + ((int64_t{tile} * kTileRows + group) * p.k + place) * 2;
  const uint32_t eight_rows = static_cast<uint32_t>(p.k) * 16;
  const X* x_row = static_cast<const X*>(params.x) + min(int64_t{group}, p.m - 1) * params.x_stride + place;
  uint4 w[Depth][2];
  Vec<X, 8> x[2];  // comes from the L2: one step ahead is enough
  const auto fetch = [&](int d, int k) {
    if (k >= end_k) return;
    w[d][0] = load_weight(weight + k * 2);
    w[d][1] = load_weight(weight + (eight_rows + k * 2));
  };
  const auto fetch_x = [&](int d, int k) {
    if (k < end_k) x[d % 2] = load<8>(x_row + k);
  };
  constexpr int kTurn = Warps * kStepK;
  int k = first_k + static_cast<int>(threadIdx.x) / 32 * kStepK;
#pragma unroll
  for (int d = 0; d < Depth; ++d) fetch(d, k + d * kTurn);
  for (int i = first_k + static_cast<int>(threadIdx.x) * 4; i < end_k; i += Warps * 32 * 4) {
    *reinterpret_cast<float4*>(norm_weight + (i - first_k)) =
        __ldg(reinterpret_cast<const float4*>(params.norm_weight + i));
  }
  __syncthreads();
  let_next_start();
  wait_for_inputs();
  fetch_x(0, k);
  const float first_out = sums.load_first_out();
  float acc[1][1][4] = {}, squares = 0;
  for (; k < end_k; k += Depth * kTurn) {
#pragma unroll
    for (int d = 0; d < Depth; ++d) {
      const int at = k + d * kTurn;
      if (at >= end_k) break;
      fetch_x(d + 1, at + kTurn);
      float v[8], factors[8];
      unpack(x[d % 2], v);
      unpack(load<8>(norm_weight + (at - first_k) + place), factors);
#pragma unroll
      for (int i = 0; i < 8; ++i) squares = fmaf(v[i], v[i], squares), v[i] *= factors[i];
      const Vec<bf16, 8> operand = pack<bf16, 8>(v);
      multiply_step<bf16>(acc[0][0], w[d][0], w[d][1], operand.words[0]);
      fetch(d, at + Depth * kTurn);
    }
  }
  squares += __shfl_xor_sync(~0u, squares, 1);
  squares += __shfl_xor_sync(~0u, squares, 2);
  const float width = static_cast<float>(p.k);
  sums.finish(acc, &squares, first_out, [&](auto sum_of, int row) { return rsqrtf(sum_of(row) / width + params.eps); });
}

template <class X>
void run_normed(const RmsNormLinearParams& p, Context& context) {
  constexpr int kWarps = 8, kDepth = 4, kBlocks = 3;
  const int splits = splits_of(p.linear, kWarps, context);
  const int steps = (steps_of(p.linear.k) + splits - 1) / splits;
  launch(context,
         {.grid = dim3(static_cast<unsigned>(row_tiles(p.linear.n) * splits)),
          .block = kWarps * 32,
          .shared_bytes = sums_bytes(1, 1, kWarps, splits, 8) + size_t{4} * steps * kStepK,
          .cluster = splits},
         normed_frag_kernel<X, kWarps, kDepth, kBlocks>, p, splits);
}

// bf16 alone: x w is not normalised, and may be too large for f16.
bool fits(const RmsNormLinearParams& p) {
  const LinearParams& product = p.linear;
  const auto aligned = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
  return product.m <= kFewRows && product.n * product.k <= kSmallWeight && product.x_dtype == DType::bf16 &&
         product.weight_dtype == DType::bf16 && (p.x_dtype == DType::f32 || p.x_dtype == DType::bf16) &&
         product.k % kStepK == 0 && product.k <= kLongestRow && aligned(product.weight) && aligned(p.norm_weight) &&
         aligned(p.x) && (product.m == 1 || p.x_stride % 8 == 0);
}

}  // namespace

void run_rms_norm_linear(const RmsNormLinearParams& p, Context& context) {
  if (p.linear.m == 0 || p.linear.n == 0) return;
  // Whether it fits depends on the rows, and its sums have another order than the product's alone.
  if (!context.deterministic && fits(p))
    return p.x_dtype == DType::f32 ? run_normed<float>(p, context) : run_normed<bf16>(p, context);
  run_rms_norm(p.norm(), context);
  run_linear(p.linear, context);
}

}  // namespace mamba::cuda
