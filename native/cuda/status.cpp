#include "cuda/status.h"

#include <string>

#include "core/error.h"

namespace mamba::cuda {
namespace {

// What a call was refused with before anything ran: the context and the device live on. All others but a lack of memory
// may be sticky: every later call fails too.
bool refused(cudaError_t status) {
  switch (status) {
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidResourceHandle:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorNotSupported:
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureImplicit:
      return true;
    default:
      return false;
  }
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that is not sticky is told once
  const ErrorCode code = status == cudaErrorMemoryAllocation ? ErrorCode::Memory
                         : refused(status)                   ? ErrorCode::Internal
                                                             : ErrorCode::DeviceLost;
  throw Error(code, "cuda", std::string(what) + ": " + cudaGetErrorString(status));
}

}  // namespace mamba::cuda
