#pragma once
#include "cuda/context.h"
#include "ops/grouped_linear.h"

namespace mamba::cuda {

// Launches grouped_linear on Hopper's matrix unit (grouped_linear_walk.cuh) and returns true, or false if the operands
// are not for it: 16-bit ones of one type, in rows of whole vectors, and an activation that its kernels have.
bool run_grouped_linear_walk(const GroupedLinearParams& params, int64_t expert_bytes, Context& context);

}  // namespace mamba::cuda
