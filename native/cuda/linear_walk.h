#pragma once
// linear for more than 64 rows of x and large weights on a Hopper GPU (linear_walk.cuh), in steps that the lab can take
// apart.
#include <cstddef>
#include <span>
#include <vector>

#include "cuda/context.h"
#include "ops/linear_activation.h"

namespace mamba::cuda {

// A tile of the product: rows of the left operand, and of the right one.
struct WalkTile {
  bool weight_left;
  int left, width;
  bool gates;  // rows of the weight may be a gate's
};

// How a product is cut. Whatever it is, a sum is one chain of products along k.
struct WalkPlan {
  int tile;       // of walk_tiles()
  bool shares_x;  // pairs of blocks have the same rows of x, or the same of the weight
};

std::span<const WalkTile> walk_tiles();
// Whether there is such a plan.
bool walk_fits(const WalkPlan& plan);
// Whether the kernel takes these operands.
bool walk_fits(const LinearParams& p, const Context& context);
bool walk_fits(const LinearActivationParams& p, const Context& context);
// The plans that promise most, the best first.
std::vector<WalkPlan> walk_plans(const LinearParams& p, bool gated, size_t most, const Context& context);
// False, with nothing launched, if the driver refuses the operands.
bool run_linear_walk(const LinearParams& p, const WalkPlan& plan, Context& context);
// linear_activation of silu with a gate, in one launch.
bool run_linear_walk(const LinearActivationParams& p, const WalkPlan& plan, Context& context);

}  // namespace mamba::cuda
