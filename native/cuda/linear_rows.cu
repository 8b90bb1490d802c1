// linear for 9 to 64 rows on a Hopper GPU: how a product is cut, and its launch.
#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "core/error.h"
#include "cuda/dispatch.h"
#include "cuda/linear_rows.cuh"
#include "cuda/linear_rows.h"
#include "cuda/tensor_map.h"

namespace mamba::cuda {
namespace {

constexpr int64_t kMostOutputs = 1 << 30, kLongestRow = 1 << 26;  // for 32-bit coordinates
constexpr int64_t kShared = 112 << 10;                            // of a block; two on a multiprocessor

// `p` is the product in `params`.
template <class T, class Half, int kTile, class Params>
void launch_rows(const Params& params, const LinearParams& p, const RowsPlan& plan, const rows::Maps& maps,
                 int box_rows, int64_t tiles, Context& context) {
  const int boxes = static_cast<int>(ceil_div(p.m, box_rows)), blocks = plan.columns * plan.splits;
  const uint32_t x = rows::kStagesX * rows::stage_bytes(box_rows * boxes), stage = rows::stage_bytes(kTile);
  const uint32_t sums = plan.splits > 1 ? rows::sums_bytes_of(kTile) : 0;
  const auto stages = static_cast<int>((kShared - 1024 - x - sums) / stage);
  const uint32_t ring = static_cast<uint32_t>(stages) * stage;
  const auto kernel = rows::linear_rows_kernel<T, Half, kTile, Params>;
  static thread_local const cudaError_t all_shared =
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  check(all_shared, "shared memory of a multiprocessor");
  launch(context,
         {.grid = ceil_div(tiles, plan.columns) * blocks,
          .block = rows::kThreads,
          .shared_bytes = x + ring + sums + rows::barrier_bytes(stages),
          .cluster = blocks},
         kernel, params, maps,
         {.columns = plan.columns,
          .splits = plan.splits,
          .stages = stages,
          .box_rows = box_rows,
          .boxes = boxes,
          .weight = x,
          .sums = x + ring,
          .barriers = x + ring + sums});
}

// Without splits of k: the narrowest tiles whose blocks are at the device at once, or the widest.
RowsPlan chains_plan(int64_t n, const Context& context) {
  RowsPlan plan = {.tile = 0, .columns = 2, .splits = 1};
  for (const int tile : {32, 48, 72}) {
    plan.tile = tile;
    if (ceil_div(n, tile) <= 2 * context.multiprocessors) break;
  }
  return plan;
}

// False, with nothing launched, where pairs of blocks of this width do not fill the device once.
template <class T, class Half, int kTile>
bool launch_activated(const LinearActivationParams& params, Context& context) {
  const LinearParams& p = params.linear;
  constexpr RowsPlan kPlan = {.tile = kTile, .columns = 2, .splits = 1};
  const int64_t tiles = ceil_div(params.activation.width, kTile / 2), places = 2 * context.multiprocessors;
  const int64_t blocks = ceil_div(tiles, kPlan.columns) * kPlan.columns;
  if (blocks > places || 6 * blocks < 5 * places) return false;
  const auto box_rows = static_cast<int>(ceil_div(ceil_div(p.m, kPlan.columns), 8) * 8);
  const auto x = encode_tensor_map<2>(p.x, p.x_dtype, {p.k, p.m}, {p.x_stride}, {rows::kStageK, box_rows});
  const auto weight = encode_tensor_map<2>(p.weight, p.weight_dtype, {p.k, p.n}, {p.k}, {rows::kStageK, kTile / 2});
  if (!x || !weight) return false;
  launch_rows<T, Half, kTile>(params, p, kPlan, {*x, *weight}, box_rows, tiles, context);
  return true;
}

template <class T, class Half>
bool launch_activated(const LinearActivationParams& p, Context& context) {
  return launch_activated<T, Half, 48>(p, context) || launch_activated<T, Half, 64>(p, context) ||
         launch_activated<T, Half, 80>(p, context) || launch_activated<T, Half, 96>(p, context);
}

}  // namespace

bool rows_fit(const LinearParams& p, const Context& context) {
  return context.hopper() && p.x_dtype == p.weight_dtype && p.x_dtype != DType::f32 && p.m <= kMostRows &&
         p.n <= kMostOutputs && p.k > 0 && p.k <= kLongestRow && p.k % 8 == 0 && rows_of_eights(p.x, p.x_stride) &&
         p.x_stride >= p.k && aligned(p.weight);
}

// The narrowest tiles whose blocks are at the device at once, two on a multiprocessor, and take most of the places.
// Clusters of four leave some multiprocessors out: 248 places of 264 on an H200. What limits the rows is measured
// (linear_rows.cuh): wide tiles are behind the library from 33 rows on, unless k is long and split. Narrow ones in
// splits are ahead with a short k too, beside a layer's other kernels: 3072 x 3072 by 1.1 us of 25.
std::optional<RowsPlan> rows_plan(int64_t n, int64_t k, const Context& context) {
  constexpr int64_t kFewestStages = 20, kFewestOfNarrow = 10, kLong = 10 << 10;
  constexpr RowsPlan kCuts[] = {{.tile = 0, .columns = 2, .splits = 1}, {.tile = 0, .columns = 1, .splits = 4}};
  const int64_t all = context.multiprocessors;
  for (RowsPlan plan : kCuts) {
    const int64_t places = 2 * (plan.columns * plan.splits > 2 ? all - all / 11 : all);
    for (const int tile : {48, 56, 64, 72, 80}) {
      const bool narrow = tile <= (plan.splits > 1 ? 56 : 48);
      const int64_t stages = plan.splits > 1 && narrow ? kFewestOfNarrow : kFewestStages;
      if (ceil_div(k, rows::kStageK) < stages * plan.splits) continue;
      const int64_t blocks = ceil_div(ceil_div(n, tile), plan.columns) * plan.columns * plan.splits;
      if (blocks > places || 6 * blocks < 5 * places) continue;
      plan.tile = tile;
      plan.most_rows = narrow || (plan.splits > 1 && k >= kLong) ? 64 : 32;
      return plan;
    }
  }
  return {};
}

bool run_linear_chains(const LinearParams& p, Context& context) {
  LinearParams part = p;
  if (p.m == 1) part.x_stride = p.k;  // that of a single row may be anything
  part.m = std::min<int64_t>(p.m, kMostRows);
  if (!rows_fit(part, context)) return false;
  const RowsPlan plan = chains_plan(p.n, context);
  for (int64_t row = 0; row < p.m; row += part.m) {
    part.m = std::min<int64_t>(p.m - row, kMostRows);
    part.x = static_cast<const char*>(p.x) + row * p.x_stride * static_cast<int64_t>(size_of(p.x_dtype));
    part.out = static_cast<char*>(p.out) + row * p.out_stride * static_cast<int64_t>(size_of(p.out_dtype));
    if (!run_linear_rows(part, plan, context)) {
      throw Error(ErrorCode::Internal, "linear", "the driver refuses the operands of a deterministic product");
    }
  }
  return true;
}

bool run_linear_rows(const LinearParams& p, const RowsPlan& plan, Context& context) {
  const auto box_rows = static_cast<int>(ceil_div(ceil_div(p.m, plan.columns), 8) * 8);
  const auto x = encode_tensor_map<2>(p.x, p.x_dtype, {p.k, p.m}, {p.x_stride}, {rows::kStageK, box_rows});
  const auto weight = encode_tensor_map<2>(p.weight, p.weight_dtype, {p.k, p.n}, {p.k}, {rows::kStageK, plan.tile});
  if (!x || !weight) return false;
  const auto launch_tile = [&]<int kTile> {
    if (plan.tile != kTile) return false;
    const rows::Maps maps = {*x, *weight};
    const int64_t tiles = ceil_div(p.n, kTile);
    p.x_dtype == DType::bf16 ? launch_rows<__nv_bfloat16, bf16, kTile>(p, p, plan, maps, box_rows, tiles, context)
                             : launch_rows<__half, f16, kTile>(p, p, plan, maps, box_rows, tiles, context);
    return true;
  };
  return [&]<size_t... kIndex>(std::index_sequence<kIndex...>) {
    return (launch_tile.template operator()<kRowTiles[kIndex]>() || ...);
  }
  (std::make_index_sequence<std::size(kRowTiles)>());
}

bool run_linear_rows_activation(const LinearActivationParams& params, Context& context) {
  if (!params.activation.up || !rows_fit(params.linear, context)) return false;
  return params.linear.x_dtype == DType::bf16 ? launch_activated<__nv_bfloat16, bf16>(params, context)
                                              : launch_activated<__half, f16>(params, context);
}

}  // namespace mamba::cuda
