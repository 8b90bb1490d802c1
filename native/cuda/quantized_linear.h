#pragma once
#include "cuda/context.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"

namespace mamba::cuda {

// run_linear, run_grouped_linear and run_pack_linear_weight where a weight, or its source, is of codes.
void run_quantized_linear(const LinearParams& params, Context& context);
void run_grouped_quantized(const GroupedLinearParams& params, Context& context);
void run_pack_quantized_weight(const PackLinearWeightParams& params, Context& context);
// Throws for groups that a block's scales cannot tell apart.
void check_groups(int64_t k, DType dtype, int64_t group);
size_t quantized_weight_bytes(int64_t n, int64_t k, DType dtype);

}  // namespace mamba::cuda
