#pragma once
// paged_attention's items on a GPU with the bulk copy engine; the combination of their results is another launch.
#include "cuda/attention.cuh"

namespace mamba::cuda {

// False where the kernel does not take it: another GPU, f32, pages or queries whose alignment does not allow it.
bool run_attention_decode(const attention::Job& job, int64_t items, Context& context);

}  // namespace mamba::cuda
