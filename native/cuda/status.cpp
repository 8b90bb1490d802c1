#include "cuda/status.h"

#include <string>

#include "core/error.h"

namespace mamba::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that is not sticky is told once
  const ErrorCode code = status == cudaErrorMemoryAllocation ? ErrorCode::Memory : ErrorCode::DeviceLost;
  throw Error(code, "cuda", std::string(what) + ": " + cudaGetErrorString(status));
}

}  // namespace mamba::cuda
