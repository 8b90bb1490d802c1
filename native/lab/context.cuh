#pragma once
// What kernels of the backend are launched with here: the facts of the GPU, and scratch as large as the engine's.
#include "cuda/context.h"
#include "lab/lab.cuh"

namespace lab {

// Without a workspace. `early`: the first launch too may start before what is ahead of it has ended.
inline mamba::cuda::Context context_of(cudaStream_t stream, bool early = false) {
  static const cudaDeviceProp device = [] {
    cudaDeviceProp found;
    LAB_CHECK(cudaGetDeviceProperties(&found, 0));
    return found;
  }();
  return {.stream = stream,
          .multiprocessors = device.multiProcessorCount,
          .capability = 10 * device.major + device.minor,
          .workspace = nullptr,
          .workspace_bytes = 0,
          .gemm_plans = nullptr,
          .early = early};
}

struct Workspace {
  Buffer scratch{mamba::cuda::kWorkspaceBytes};

  mamba::cuda::Context on(cudaStream_t stream) const {
    mamba::cuda::Context context = context_of(stream);
    context.workspace = scratch.data, context.workspace_bytes = scratch.bytes;
    return context;
  }
};

}  // namespace lab
