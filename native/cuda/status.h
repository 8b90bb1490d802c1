#pragma once
#include <cuda_runtime_api.h>

namespace mamba::cuda {

// Throws for anything but success: ErrorCode::Memory where memory ran out, ErrorCode::Internal where a call was
// refused, else ErrorCode::DeviceLost. `what` names the call, as in "cudaMalloc of 12 bytes".
void check(cudaError_t status, const char* what);

}  // namespace mamba::cuda
