// linear_route and experts. Few tokens of bf16, whose time is all the weights', take one launch and two
// (experts_few.cuh); all others the ops that these stand for. A deterministic stream has those in any case: which it
// is depends on the number of tokens.
#include <algorithm>

#include "cuda/dispatch.h"
#include "cuda/experts_few.cuh"
#include "cuda/kernels.h"
#include "cuda/moe_combine.h"

namespace mamba::cuda {
namespace few {
namespace {

constexpr int64_t kFewTokens = 4;
// More than two tokens: with large experts it is as fast to read one for all of its tokens (Nemotron-3-Nano, four
// tokens: 147 us a layer, and 126 as ops apart; Granite-4.0-H-tiny 39 and 49, Qwen3.5-35B-A3B 63 and 84).
constexpr int64_t kLargeExpert = 4 << 20;  // elements
constexpr int64_t kLongestRow = 16 << 10;  // elements, in shared memory
constexpr size_t kMostShared = size_t{64} << 10;

// --- route ----------------------------------------------------------------------------------------------------------
template <int Rows, int Pieces>
void launch_route(const Route& p, Context& context) {
  launch(context,
         {.grid = p.route.tokens * kCluster,
          .block = kThreads,
          .shared_bytes = groups_bytes(p.route),
          .cluster = kCluster},
         route_few_kernel<Rows, Pieces>, p);
}

// False where the kernel does not take it.
bool run_route_few(const LinearRouteParams& params, Context& context) {
  const LinearParams& linear = params.linear;
  const bool fits = !context.deterministic && context.clusters() && linear.m <= kFewTokens &&
                    linear.x_dtype == DType::bf16 && linear.weight_dtype == DType::bf16 && linear.k % 8 == 0 &&
                    aligned(linear.weight) && rows_of_eights(linear.x, linear.x_stride);
  if (!fits) return false;
  const Route p = {
      .route = params.route,
      .width = static_cast<int>(linear.k),
      .x = static_cast<const bf16*>(linear.x),
      .x_stride = linear.x_stride,
      .weight = static_cast<const bf16*>(linear.weight),
  };
  constexpr int64_t kRow = kCluster * kWarps;  // experts that the warps of a cluster have at once
  const int64_t experts = params.route.experts, pieces = ceil_div(linear.k, kPiece);
  // Rows and pieces are registers.
  if (experts <= kRow && pieces <= 6) return launch_route<1, 6>(p, context), true;
  if (experts <= 2 * kRow && pieces <= 11) return launch_route<2, 11>(p, context), true;
  if (experts <= 2 * kRow && pieces <= 16) return launch_route<2, 16>(p, context), true;
  if (experts <= 4 * kRow && pieces <= 8) return launch_route<4, 8>(p, context), true;
  return false;
}

// --- experts --------------------------------------------------------------------------------------------------------
template <bool Gated, int Depth, int Blocks>
void launch_up(const Experts& p, Context& context) {
  const int64_t shared = ceil_div(p.shared_size + (p.shared_gate ? 1 : 0), kWarps);
  const int64_t blocks = p.tokens * (shared + p.k * ceil_div(p.size, kWarps));
  launch(context, {.grid = blocks, .block = kThreads, .shared_bytes = size_t{2} * whole_row(p.width)},
         up_few_kernel<Gated, Depth, Blocks>, p);
}

template <int Splits>
void launch_down(const Experts& p, Context& context) {
  constexpr int kColumns = 4, kDepth = 4, kBlocks = 2;
  launch(context,
         {.grid = p.tokens * ceil_div(p.width, kWarps / Splits * kColumns),
          .block = kThreads,
          .shared_bytes = size_t{2} * between_elements(p)},
         down_few_kernel<Splits, kColumns, kDepth, kBlocks>, p);
}

bool bf16_product(const LinearParams& p) {
  return p.weight_dtype == DType::bf16 && p.k % 8 == 0 && aligned(p.weight) && rows_of_eights(p.x, p.x_stride);
}
bool bf16_products(const GroupedLinearParams& p) {
  return p.x_dtype == DType::bf16 && p.weight_dtype == DType::bf16 && p.k % 8 == 0 && aligned(p.weight) &&
         rows_of_eights(p.x, p.x_stride);
}

// False where the kernels do not take it.
bool run_experts_few(const ExpertsParams& params, Context& context) {
  const GroupedLinearParams &up = params.up, &down = params.down;
  const bool small = up.n * up.k + down.n * down.k <= kLargeExpert;
  const bool fits = !context.deterministic && context.capability >= 90 && up.x_rows <= (small ? kFewTokens : 2) &&
                    params.combine.k <= kMostOfToken && up.k <= kLongestRow && bf16_products(up) &&
                    bf16_products(down) &&
                    (!params.shared || (bf16_product(params.shared_up) && bf16_product(params.shared_down))) &&
                    (!params.gated || bf16_product(params.shared_gate));
  if (!fits) return false;
  const MoeCombineParams& combine = params.combine;
  const Experts p = {
      .tokens = static_cast<int>(up.x_rows),
      .experts = static_cast<int>(up.experts),
      .k = static_cast<int>(combine.k),
      .width = static_cast<int>(up.k),
      .size = static_cast<int>(up.columns),
      .shared_size = params.shared ? static_cast<int>(params.shared_down.k) : 0,
      .x = static_cast<const bf16*>(up.x),
      .x_stride = up.x_stride,
      .ids = params.sort.ids,
      .weights = combine.weights,
      .up = static_cast<const bf16*>(up.weight),
      .down = static_cast<const bf16*>(down.weight),
      .up_stride = static_cast<int64_t>(linear_weight_bytes(up.n, up.k, DType::bf16) / sizeof(bf16)),
      .down_stride = static_cast<int64_t>(linear_weight_bytes(down.n, down.k, DType::bf16) / sizeof(bf16)),
      .shared_up = static_cast<const bf16*>(params.shared_up.weight),
      .shared_down = static_cast<const bf16*>(params.shared_down.weight),
      .shared_gate = params.gated ? static_cast<const bf16*>(params.shared_gate.weight) : nullptr,
      .between = static_cast<bf16*>(up.out),
      .shared_between = static_cast<bf16*>(params.shared_up.out),
      .shared_stride = params.shared_up.out_stride,
      .shared_factors = static_cast<bf16*>(params.shared_gate.out),
      .out = combine.out,
      .out_stride = combine.out_stride,
      .out_dtype = combine.out_dtype,
      .activation = up.activation,
      .alpha = combine.alpha,
      .accumulate = combine.accumulate,
  };
  if (size_t{2} * between_elements(p) > kMostShared) return false;
  // Measured (native/lab/README.md): a lone token of experts with gates has few rows, each of two.
  if (p.tokens == 1 && up.gated) {
    launch_up<true, 8, 2>(p, context), launch_down<4>(p, context);
  } else {
    up.gated ? launch_up<true, 4, 4>(p, context) : launch_up<false, 4, 4>(p, context);
    launch_down<2>(p, context);
  }
  return true;
}

}  // namespace
}  // namespace few

void run_linear_route(const LinearRouteParams& p, Context& context) {
  if (few::run_route_few(p, context)) return;
  run_linear(p.linear, context);
  run_route(p.route, context);
}

namespace {

// The shared expert's rows take the place of what lies between the experts' projections, and are added with theirs: out
// is read and written once, and the gate needs no pass of its own. False where that does not fit.
bool run_shared_combine(const ExpertsParams& p, Context& context) {
  const GroupedLinearParams& down = p.down;
  const SharedRows shared = {.y = down.x,
                             .x = p.gated ? p.shared_gate.x : nullptr,
                             .x_stride = p.gated ? p.shared_gate.x_stride : 0,
                             .gate = p.gated ? p.shared_gate.weight : nullptr};
  if (!p.shared || down.x_rows * down.k < p.combine.tokens * p.combine.width || !combines_shared(p.combine, shared) ||
      (p.gated && p.shared_gate.weight_dtype != p.combine.y_dtype)) {
    return false;
  }
  run_linear(p.shared_up, context);
  run_activation(p.shared_activation, context);
  LinearParams product = p.shared_down;
  product.out = const_cast<void*>(down.x), product.out_stride = p.combine.width, product.out_dtype = p.combine.y_dtype;
  product.alpha = 1, product.accumulate = false;
  run_linear(product, context);
  run_moe_combine_shared(p.combine, shared, context);
  return true;
}

}  // namespace

void run_experts(const ExpertsParams& p, Context& context) {
  if (few::run_experts_few(p, context)) return;
  run_sort_by_expert(p.sort, context);
  run_grouped_linear(p.up, context);
  run_grouped_linear(p.down, context);
  if (run_shared_combine(p, context)) return;
  run_moe_combine(p.combine, context);
  if (!p.shared) return;
  run_linear(p.shared_up, context);
  run_activation(p.shared_activation, context);
  if (p.gated) {
    run_linear(p.shared_gate, context);
    run_activation(p.shared_gating, context);
  }
  run_linear(p.shared_down, context);
}

}  // namespace mamba::cuda
