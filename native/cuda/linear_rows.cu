// linear for 17 to 64 rows on a Hopper GPU: how a product is cut, and its launch.
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

template <class T, class Half, int kTile>
void launch_rows(const LinearParams& p, const RowsPlan& plan, const rows::Maps& maps, int box_rows, Context& context) {
  const int boxes = static_cast<int>(ceil_div(p.m, box_rows)), blocks = plan.columns * plan.splits;
  const uint32_t x = rows::kStagesX * rows::stage_bytes(box_rows * boxes), stage = rows::stage_bytes(kTile);
  const uint32_t sums = plan.splits > 1 ? rows::sums_bytes_of(kTile) : 0;
  const auto stages = static_cast<int>((kShared - 1024 - x - sums) / stage);
  const uint32_t ring = static_cast<uint32_t>(stages) * stage;
  const auto kernel = rows::linear_rows_kernel<T, Half, kTile>;
  static const cudaError_t all_shared =
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  check(all_shared, "shared memory of a multiprocessor");
  launch(context,
         {.grid = dim3(static_cast<unsigned>(ceil_div(ceil_div(p.n, kTile), plan.columns) * blocks)),
          .block = rows::kThreads,
          .shared_bytes = x + ring + sums + rows::barrier_bytes(stages),
          .cluster = blocks},
         kernel, p, maps,
         {.columns = plan.columns,
          .splits = plan.splits,
          .stages = stages,
          .box_rows = box_rows,
          .boxes = boxes,
          .weight = x,
          .sums = x + ring,
          .barriers = x + ring + sums});
}

}  // namespace

bool rows_fit(const LinearParams& p, const Context& context) {
  const auto aligned = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
  return context.hopper() && p.x_dtype == p.weight_dtype && p.x_dtype != DType::f32 && p.m <= kMostRows &&
         p.n <= kMostOutputs && p.k > 0 && p.k <= kLongestRow && p.k % 8 == 0 && p.x_stride % 8 == 0 &&
         p.x_stride >= p.k && aligned(p.x) && aligned(p.weight);
}

// The narrowest tiles whose blocks are at the device at once, two on a multiprocessor, and take most of the places.
// Clusters of four leave some multiprocessors out: 248 places of 264 on an H200. What limits the rows is measured
// (linear_rows.cuh): wide tiles are behind the library from 33 rows on, unless k is long and split.
std::optional<RowsPlan> rows_plan(int64_t n, int64_t k, const Context& context) {
  constexpr int64_t kFewestStages = 20, kLong = 10 << 10;
  constexpr RowsPlan kCuts[] = {{.tile = 0, .columns = 2, .splits = 1}, {.tile = 0, .columns = 1, .splits = 4}};
  const int64_t all = context.multiprocessors;
  for (RowsPlan plan : kCuts) {
    if (ceil_div(k, rows::kStageK) < kFewestStages * plan.splits) continue;
    const int64_t places = 2 * (plan.columns * plan.splits > 2 ? all - all / 11 : all);
    for (const int tile : {48, 56, 64, 72, 80}) {
      const int64_t blocks = ceil_div(ceil_div(n, tile), plan.columns) * plan.columns * plan.splits;
      if (blocks > places || 6 * blocks < 5 * places) continue;
      plan.tile = tile;
      plan.most_rows = tile <= 48 || (plan.splits > 1 && k >= kLong) ? 64 : 32;
      return plan;
    }
  }
  return {};
}

namespace {

// Without splits of k: the narrowest tiles whose blocks are at the device at once, or the widest.
RowsPlan chains_plan(int64_t n, const Context& context) {
  RowsPlan plan = {.tile = 0, .columns = 2, .splits = 1};
  for (const int tile : {32, 48, 72}) {
    plan.tile = tile;
    if (ceil_div(n, tile) <= 2 * context.multiprocessors) break;
  }
  return plan;
}

}  // namespace

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
    p.x_dtype == DType::bf16 ? launch_rows<__nv_bfloat16, bf16, kTile>(p, plan, {*x, *weight}, box_rows, context)
                             : launch_rows<__half, f16, kTile>(p, plan, {*x, *weight}, box_rows, context);
    return true;
  };
  return [&]<size_t... kIndex>(std::index_sequence<kIndex...>) {
    return (launch_tile.template operator()<kRowTiles[kIndex]>() || ...);
  }
  (std::make_index_sequence<std::size(kRowTiles)>());
}

}  // namespace mamba::cuda
