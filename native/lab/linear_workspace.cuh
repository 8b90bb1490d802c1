#pragma once
// What linear.cu, linear_rows.cu and linear_walk.cu launch with: a context as the engine's stream has it.
#include "cuda/gemm_plans.h"
#include "cuda/staging.h"
#include "lab/lab.cuh"

namespace lab {

struct LinearWorkspace {
  Buffer scratch{mamba::cuda::kWorkspaceBytes};
  mamba::cuda::GemmPlans plans;
  mamba::cuda::Staging staging;
  mamba::cuda::Context context = {};

  LinearWorkspace() {
    cudaDeviceProp device;
    LAB_CHECK(cudaGetDeviceProperties(&device, 0));
    LAB_CHECK(cudaStreamCreateWithFlags(&context.stream, cudaStreamNonBlocking));
    context.multiprocessors = device.multiProcessorCount;
    context.capability = 10 * device.major + device.minor;
    context.workspace = scratch.data;
    context.workspace_bytes = scratch.bytes;
    context.gemm_plans = &plans;
    context.staging = &staging;
  }
  mamba::cuda::Context on(cudaStream_t stream) const {
    mamba::cuda::Context other = context;
    other.stream = stream;
    return other;
  }
};

}  // namespace lab
