#pragma once
#include "cuda/context.h"
#include "ops/moe.h"

namespace mamba::cuda {

// What the expert that all tokens use adds to each of them.
struct SharedRows {
  const void* y;  // [tokens, width] contiguous, of y_dtype
  // sigmoid(x gate^T) is a factor of it, the product rounded to y_dtype; null: none
  const void* x;  // [tokens, width] of y_dtype, row stride x_stride
  int64_t x_stride;
  const void* gate;  // [width] of y_dtype
};

bool combines_shared(const MoeCombineParams& p, const SharedRows& shared);
// moe_combine with one more row for each token.
void run_moe_combine_shared(const MoeCombineParams& p, const SharedRows& shared, Context& context);

}  // namespace mamba::cuda
