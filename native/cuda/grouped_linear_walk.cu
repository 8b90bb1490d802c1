// grouped_linear on Hopper's matrix unit: the choice among its shapes, and their launches.
#include "cuda/grouped_linear_walk.cuh"
#include "cuda/grouped_linear_walk.h"
#include "cuda/tensor_map.h"

namespace mamba::cuda {
namespace grouped {
namespace {

// By the rows of an expert, on average. A tile of an expert has 256 rows of its weight, or 64 where the weights' bytes
// are what takes time; pairs of blocks share the weight where most experts have rows for two.
using Few = WalkShape<1, 1, 64, 1, 6, 2, 8, 16, 32, 64>;
using Some = WalkShape<2, 2, 144, 1, 4, 1, 32, 48, 64, 80, 96, 112, 128, 144>;
using Many = WalkShape<2, 2, 144, 2, 4, 1, 32, 64, 80, 96, 104, 112, 120, 128, 136, 144>;
constexpr int64_t kFewRows = 48, kSomeRows = 144;

template <class Shape, bool kGated>
bool launch_walk(const GroupedLinearParams& p, int64_t expert_bytes, Context& context) {
  const int64_t eight_rows = 8 * p.k;  // with a gate: of it, and the same of the up-projection
  const auto map = encode_tensor_map<5>(
      p.weight, p.weight_dtype, {p.k, 8, 2, p.n / 16, p.experts},
      {p.k, kGated ? p.n / 2 * p.k : eight_rows, kGated ? eight_rows : 2 * eight_rows, expert_bytes / 2},
      {kStageK, 8, 2, Shape::kWeightRows / 16 / Shape::kCluster, 1});
  if (!map) return false;
  const int blocks = context.multiprocessors * Shape::kBlocks / Shape::kCluster * Shape::kCluster;
  launch(context,
         {.grid = blocks, .block = Shape::kThreads, .shared_bytes = Shape::kShared, .cluster = Shape::kCluster},
         p.x_dtype == DType::bf16 ? walk_kernel<Shape, __nv_bfloat16, bf16, kGated>
                                  : walk_kernel<Shape, __half, f16, kGated>,
         p, *map);
  return true;
}

template <class Shape>
bool launch_shape(const GroupedLinearParams& p, int64_t expert_bytes, Context& context) {
  return p.gated ? launch_walk<Shape, true>(p, expert_bytes, context)
                 : launch_walk<Shape, false>(p, expert_bytes, context);
}

bool fits(const GroupedLinearParams& p, const Context& context) {
  const bool activation = p.gated ? p.activation == Activation::silu
                                  : p.activation == Activation::identity || p.activation == Activation::relu2;
  constexpr int64_t kMostVectors = (int64_t{1} << 32) - 1;  // of x: 32-bit places in it
  return context.hopper() && activation && p.x_dtype == p.weight_dtype && p.x_dtype != DType::f32 && p.n % 16 == 0 &&
         p.k % 8 == 0 && rows_of_eights(p.x, p.x_stride) && p.x_stride > 0 &&
         p.x_rows * (p.x_stride / 8) <= kMostVectors && aligned(p.weight) && p.k > kStageK &&
         (p.out_dtype == DType::f32 || rows_of_eights(p.out, p.out_stride));
}

}  // namespace
}  // namespace grouped

bool run_grouped_linear_walk(const GroupedLinearParams& p, int64_t expert_bytes, Context& context) {
  using namespace grouped;
  if (!fits(p, context)) return false;
  if (p.rows <= kFewRows * p.experts) return launch_shape<Few>(p, expert_bytes, context);
  if (p.rows <= kSomeRows * p.experts) return launch_shape<Some>(p, expert_bytes, context);
  return launch_shape<Many>(p, expert_bytes, context);
}

}  // namespace mamba::cuda
