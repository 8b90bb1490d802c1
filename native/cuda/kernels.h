#pragma once
// The ops on a stream: run_<op>(params, context) launches and returns. Each family of ops is a .cu file.
#include "cuda/context.h"
#include "ops/backend.h"

namespace mamba::cuda {

#define OP(name, Params, ...) void run_##name(const Params& params, Context& context);
#include "ops/ops.def"

size_t linear_weight_bytes(int64_t n, int64_t k, DType dtype, int64_t group = 0);
void run_pack_linear_weight(const PackLinearWeightParams& params, Context& context);

}  // namespace mamba::cuda
