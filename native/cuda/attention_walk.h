#pragma once
// attention_varlen on Hopper's matrix unit.
#include "cuda/attention.cuh"

namespace mamba::cuda {

// `tokens`: of q. False where the kernel does not take it: another GPU, f32, e4m3 pages, a head_dim that is not listed,
// alignments of less than 16 bytes, a scale that is not positive.
bool run_attention_walk(const attention::Job& job, int64_t tokens, Context& context);

}  // namespace mamba::cuda
