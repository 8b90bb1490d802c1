#pragma once
#include "cuda/context.h"

namespace mamba::cuda {

// A copy within the device.
void launch_copy(void* dst, const void* src, size_t bytes, Context& context);

}  // namespace mamba::cuda
