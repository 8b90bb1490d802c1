// linear for more than 64 rows on a Hopper GPU: how a product is cut, and its launch.
#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "cuda/dispatch.h"
#include "cuda/linear_walk.cuh"
#include "cuda/linear_walk.h"
#include "cuda/tensor_map.h"

namespace mamba::cuda {
namespace walk {
namespace {

using Tiles = std::tuple<Tile<false, 1, 160>, Tile<false, 1, 192>, Tile<false, 1, 208>, Tile<false, 1, 224>,
                         Tile<false, 2, 144>, Tile<false, 2, 192>, Tile<true, 2, 152>, Tile<true, 2, 176>>;
constexpr size_t kTiles = std::tuple_size_v<Tiles>;

template <size_t... kIndex>
constexpr std::array<WalkTile, kTiles> list(std::index_sequence<kIndex...>) {
  return {WalkTile{std::tuple_element_t<kIndex, Tiles>::kWeightLeft, std::tuple_element_t<kIndex, Tiles>::kLeft,
                   std::tuple_element_t<kIndex, Tiles>::kWidth, std::tuple_element_t<kIndex, Tiles>::kGates}...};
}
constexpr std::array<WalkTile, kTiles> kList = list(std::make_index_sequence<kTiles>());

struct Sizes {
  int64_t x_tiles, weight_tiles, x_units, units;
};
Sizes sizes_of(const LinearParams& p, const WalkPlan& plan) {
  const WalkTile& tile = kList[static_cast<size_t>(plan.tile)];
  Sizes s = {};
  s.x_tiles = ceil_div(p.m, tile.weight_left ? tile.width : tile.left);
  s.weight_tiles = ceil_div(p.n, tile.weight_left ? tile.left : tile.width);
  s.x_units = plan.shares_x ? s.x_tiles : ceil_div(s.x_tiles, 2);
  s.units = s.x_units * (plan.shares_x ? ceil_div(s.weight_tiles, 2) : s.weight_tiles);
  return s;
}

// What a plan is taken to cost, in cycles of a multiprocessor: rounds of steps of k, which the matrix unit or the L2
// bounds, and of writing a tile.
double cycles_of(const LinearParams& p, const WalkPlan& plan, const Context& context) {
  const WalkTile& tile = kList[static_cast<size_t>(plan.tile)];
  const int shared = plan.shares_x == tile.weight_left ? tile.width : tile.left;  // rows that a pair has in common
  const double products = 1.1 * tile.left * tile.width / 32;
  const double copies = (tile.left + tile.width - shared / 2) * static_cast<double>(kRowBytes) / 36;
  const double bytes = static_cast<double>(tile.left * tile.width) * (p.out_dtype == DType::f32 ? 4 : 2);
  const double written = bytes / 24 * (tile.weight_left && p.out_dtype != DType::f32 ? 2 : 1);
  const int64_t rounds = ceil_div(sizes_of(p, plan).units, context.multiprocessors / 2);
  return static_cast<double>(rounds) *
         (static_cast<double>(ceil_div(p.k, kStageK)) * std::max(products, copies) + written);
}

template <class Tile, bool kGated>
bool launch_walk(const LinearParams& p, const ActivationParams* activation, const WalkPlan& plan, Context& context) {
  const Sizes sizes = sizes_of(p, plan);
  const int box_x = plan.shares_x ? Tile::kRowsOfX / 2 : Tile::kRowsOfX;
  const auto x = encode_tensor_map<2>(p.x, p.x_dtype, {p.k, p.m}, {p.x_stride}, {kStageK, box_x});
  const int box_weight = !plan.shares_x || kGated ? Tile::kRowsOfWeight / 2 : Tile::kRowsOfWeight;
  const auto weight = encode_tensor_map<2>(p.weight, p.weight_dtype, {p.k, p.n}, {p.k}, {kStageK, box_weight});
  if (!x || !weight) return false;
  const int pairs = context.multiprocessors / 2;
  const int64_t clusters = std::min<int64_t>(pairs, sizes.units);
  launch(context, {.grid = 2 * clusters, .block = kThreads, .shared_bytes = Tile::kShared, .cluster = 2},
         p.x_dtype == DType::bf16 ? linear_walk_kernel<Tile, __nv_bfloat16, bf16, kGated>
                                  : linear_walk_kernel<Tile, __half, f16, kGated>,
         p, Maps{*x, *weight},
         {.x_tiles = static_cast<int>(sizes.x_tiles),
          .weight_tiles = static_cast<int>(sizes.weight_tiles),
          .x_units = static_cast<int>(sizes.x_units),
          .units = static_cast<int>(sizes.units),
          .shares_x = plan.shares_x,
          .width = activation ? activation->width : 0,
          .gate_scale = activation ? activation->scale : 1});
  return true;
}

template <bool kGated>
bool launch_plan(const LinearParams& p, const ActivationParams* activation, const WalkPlan& plan, Context& context) {
  bool launched = false;
  const auto launch_tile = [&]<size_t kIndex> {
    using Tile = std::tuple_element_t<kIndex, Tiles>;
    if (plan.tile != static_cast<int>(kIndex)) return false;
    if constexpr (Tile::kGates || !kGated) launched = launch_walk<Tile, kGated>(p, activation, plan, context);
    return true;
  };
  [&]<size_t... kIndex>(std::index_sequence<kIndex...>) { (void)(launch_tile.template operator()<kIndex>() || ...); }
  (std::make_index_sequence<kTiles>());
  return launched;
}

}  // namespace
}  // namespace walk

std::span<const WalkTile> walk_tiles() { return walk::kList; }

bool walk_fits(const LinearParams& p, const Context& context) {
  constexpr int64_t kMost = 1 << 26;  // for 32-bit coordinates
  const bool wide = p.out_dtype == DType::f32;
  return context.hopper() && p.x_dtype == p.weight_dtype && p.x_dtype != DType::f32 && p.m <= kMost && p.n <= kMost &&
         p.k > 0 && p.k <= kMost && p.k % 8 == 0 && p.n % 16 == 0 && rows_of_eights(p.x, p.x_stride) &&
         p.x_stride >= p.k && aligned(p.weight) && aligned(p.out) && p.out_stride % (wide ? 4 : 8) == 0 && !p.bias &&
         (wide || (p.out_dtype == p.x_dtype && !p.accumulate));
}

bool walk_fits(const LinearActivationParams& p, const Context& context) {
  return walk_fits(p.linear, context) && p.activation.up && p.activation.activation == Activation::silu &&
         p.linear.out_dtype != DType::f32 && p.linear.alpha == 1 && p.activation.width % 16 == 0;
}

std::vector<WalkPlan> walk_plans(const LinearParams& p, bool gated, size_t most, const Context& context) {
  std::vector<std::pair<double, WalkPlan>> plans;
  for (int i = 0; i < static_cast<int>(walk::kTiles); ++i) {
    const WalkTile& tile = walk::kList[static_cast<size_t>(i)];
    for (const bool shares_x : {true, false}) {
      const WalkPlan plan = {i, shares_x};
      if (walk_fits(plan) && (tile.gates || !gated)) plans.emplace_back(walk::cycles_of(p, plan, context), plan);
    }
  }
  std::sort(plans.begin(), plans.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<WalkPlan> best;
  for (size_t i = 0; i < std::min(most, plans.size()); ++i) best.push_back(plans[i].second);
  return best;
}

bool walk_fits(const WalkPlan& plan) {
  const WalkTile& tile = walk::kList[static_cast<size_t>(plan.tile)];
  return tile.width % 16 == 0 || tile.weight_left != plan.shares_x;  // half of the right operand is in a copy
}

bool run_linear_walk(const LinearParams& p, const WalkPlan& plan, Context& context) {
  return walk::launch_plan<false>(p, nullptr, plan, context);
}

bool run_linear_walk(const LinearActivationParams& p, const WalkPlan& plan, Context& context) {
  return walk::launch_plan<true>(p.linear, &p.activation, plan, context);
}

}  // namespace mamba::cuda
