#pragma once
#include "cuda/context.h"
#include "ops/linear.h"

namespace mamba::cuda {

// linear and rms_norm_linear of one row of x with a large weight of codes on a Hopper GPU (quantized_ring.cuh). False,
// with nothing launched, where quantized_linear.cuh is as fast, and on a deterministic stream: sums have an order of
// their own.
bool run_quantized_ring(const LinearParams& params, Context& context);
bool run_normed_quantized_ring(const RmsNormLinearParams& params, Context& context);

}  // namespace mamba::cuda
