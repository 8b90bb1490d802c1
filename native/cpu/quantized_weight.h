#pragma once
#include "ops/linear.h"

namespace mamba::cpu {

class ThreadPool;

// run_pack_linear_weight where source or weight are codes.
void run_pack_quantized_weight(const PackLinearWeightParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
