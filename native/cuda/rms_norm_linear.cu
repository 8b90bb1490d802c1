// rms_norm_linear: y = rms_norm(x) W^T, two launches or, for few rows, one: normed_frag_kernel for small weights of
// floats, quantized_ring.cuh for one row and a large weight of codes.
//
// Idea. norm(x) W^T = (x w) W^T / rms(x) with the norm's weights w: the root mean square is one number for a row, so
// the product need not wait for it. A block of the fragments kernel (linear.cuh) needs every element of its rows
// anyway: it multiplies them by w once, adds up their squares, and scales its outputs at the end. The decode step
// loses a launch, and the rows a trip through memory. x w is rounded to the product's type, as norm(x) would be.
//
// Mapping. As in linear.cuh. Before the product all threads of a block go along its rows, four elements each: the
// warps of a row's product would each convert their part behind a wait for it, one step after the other.
//
// Layout. In shared memory the block's share of w, there before the inputs are, and the rows times w as operands.
//
// Bound. The weight's bytes; but each block of 16 outputs also reads its rows as floats and w, 20 KB beside 82 KB of
// weight at k = 2560. Worth it where all blocks are on the device at once, with the first of their weights on the way
// while the inputs are made: granite-4.0-h-tiny's step of one row took 1.47 ms with two launches each, and takes 1.33.
// Larger weights lose by it: with the convolution's update in the product as well, a mixer's layer of 2.7b took 31.4 us
// in place of 29.4, of codestral-7b 89 in place of 65.
#include <algorithm>

#include "cuda/kernels.h"
#include "cuda/linear.cuh"
#include "cuda/quantized_ring.h"
#include "cuda/shared_memory.cuh"

namespace mamba::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * 32, kDepth = 3;  // kDepth: steps in flight in each warp
constexpr int kBlocks = 4;                                     // of a multiprocessor
constexpr int kExtra = 8;                                      // sums of squares
constexpr int64_t kSmallWeight = 12 << 20;                     // elements
constexpr int64_t kFewRows = 8;  // one tile of rows; with two the registers do not suffice
constexpr size_t kMostShared = size_t{48} << 10;

struct Shape {
  int splits, share;  // share: elements of k that a block has at most
  size_t bytes;       // of its shared memory

  Shape(const LinearParams& p, const Context& context)
      : splits(splits_of(p, kWarps, context)), share((steps_of(p.k) + splits - 1) / splits * kStepK) {
    bytes = sums_bytes(1, 1, kWarps, splits, kExtra) + static_cast<size_t>(share) * (4 + 2 * static_cast<size_t>(p.m));
  }
  int blocks(const LinearParams& p) const { return row_tiles(p.n) * splits; }
};

// X: float or bf16, the type of x.
template <class X>
__global__ void __launch_bounds__(kThreads, kBlocks)
    normed_frag_kernel(const __grid_constant__ RmsNormLinearParams params, int splits, int share) {
  extern __shared__ __align__(16) uint8_t normed_memory[];
  const LinearParams& p = params.linear;
  const int lane = threadIdx.x % 32, group = lane / 4, place = lane % 4 * 8;  // place: elements
  const int rows = static_cast<int>(p.m);
  const int tile = blockIdx.x / splits, rank = blockIdx.x % splits;
  const int steps = steps_of(p.k), begin = steps * rank / splits, end = steps * (rank + 1) / splits;
  const int first_k = begin * kStepK, end_k = end * kStepK;
  if (splits > 1) cluster_arrive();
  float* norm_weight = reinterpret_cast<float*>(normed_memory);
  bf16* operands = reinterpret_cast<bf16*>(norm_weight + share);  // [rows][share]
  const Sums<1, 1, kWarps, kExtra> sums = {p, reinterpret_cast<float*>(operands + rows * share), tile, 0, splits};

  const char* weight = static_cast<const char*>(p.weight) + ((int64_t{tile} * kTileRows + group) * p.k + place) * 2;
  const uint32_t eight_rows = static_cast<uint32_t>(p.k) * 16;
  uint4 w[kDepth][2];
  const auto fetch = [&](int d, int k) {
    if (k >= end_k) return;
    w[d][0] = load_weight(weight + k * 2);
    w[d][1] = load_weight(weight + (eight_rows + k * 2));
  };
  constexpr int kTurn = kWarps * kStepK;
  int k = first_k + static_cast<int>(threadIdx.x) / 32 * kStepK;
#pragma unroll
  for (int d = 0; d < kDepth; ++d) fetch(d, k + d * kTurn);
  for (int i = static_cast<int>(threadIdx.x) * 4; i < end_k - first_k; i += kThreads * 4) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(norm_weight + i)),
                 "l"(params.norm_weight + first_k + i)
                 : "memory");
  }
  let_next_start();
  wait_for_inputs();
  const float first_out = sums.load_first_out();
  wait_for_copies();  // a thread reads those that it has asked for itself
  float squares = 0;  // of the warp's part of row `group`
  for (int row = 0; row < rows; ++row) {
    const X* x = static_cast<const X*>(params.x) + row * params.x_stride + first_k;
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x) * 4; i < end_k - first_k; i += kThreads * 4) {
      float v[4], factors[4];
      unpack(load<4>(x + i), v);
      unpack(load<4>(norm_weight + i), factors);
#pragma unroll
      for (int j = 0; j < 4; ++j) sum = fmaf(v[j], v[j], sum), v[j] *= factors[j];
      *reinterpret_cast<Vec<bf16, 4>*>(operands + row * share + i) = pack<bf16, 4>(v);
    }
    sum = warp_sum(sum);
    if (group == row) squares = sum;
  }
  __syncthreads();
  const bf16* x_row = operands + min(group, rows - 1) * share + place - first_k;
  float acc[1][1][4] = {};
  for (; k < end_k; k += kDepth * kTurn) {
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      const int at = k + d * kTurn;
      if (at >= end_k) break;
      multiply_step<bf16>(acc[0][0], w[d][0], w[d][1], *reinterpret_cast<const uint4*>(x_row + at));
      fetch(d, at + kDepth * kTurn);
    }
  }
  const float width = static_cast<float>(p.k);
  sums.finish(acc, &squares, first_out, [&](auto sum_of, int row) { return rsqrtf(sum_of(row) / width + params.eps); });
}

template <class X>
void run_normed(const RmsNormLinearParams& p, const Shape& shape, Context& context) {
  launch(context,
         {.grid = shape.blocks(p.linear), .block = kThreads, .shared_bytes = shape.bytes, .cluster = shape.splits},
         normed_frag_kernel<X>, p, shape.splits, shape.share);
}

// bf16 alone: x w is not normalised, and may be too large for f16.
bool fits(const RmsNormLinearParams& p, const Shape& shape, const Context& context) {
  const LinearParams& product = p.linear;
  return product.m <= kFewRows && product.n * product.k <= kSmallWeight &&
         shape.blocks(product) <= kBlocks * context.multiprocessors && shape.bytes <= kMostShared &&
         product.x_dtype == DType::bf16 && product.weight_dtype == DType::bf16 &&
         (p.x_dtype == DType::f32 || p.x_dtype == DType::bf16) && product.k % kStepK == 0 && aligned(product.weight) &&
         aligned(p.norm_weight) && rows_of_eights(p.x, product.m == 1 ? 0 : p.x_stride);
}

}  // namespace

void run_rms_norm_linear(const RmsNormLinearParams& p, Context& context) {
  if (p.linear.m == 0 || p.linear.n == 0) return;
  // Whether they fit depends on the rows, and their sums have another order than the product's alone.
  if (run_normed_quantized_ring(p, context)) return;
  const Shape shape(p.linear, context);
  if (!context.deterministic && fits(p, shape, context)) {
    return p.x_dtype == DType::f32 ? run_normed<float>(p, shape, context) : run_normed<bf16>(p, shape, context);
  }
  run_rms_norm(p.norm(), context);
  run_linear(p.linear, context);
}

}  // namespace mamba::cuda
