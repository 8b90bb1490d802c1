#pragma once
// What the labs of linear launch with: a context as the engine's stream has it, with the library's plans and staging.
#include "cuda/gemm_plans.h"
#include "cuda/staging.h"
#include "lab/context.cuh"

namespace lab {

struct LinearWorkspace {
  Workspace workspace;
  mamba::cuda::GemmPlans plans;
  mamba::cuda::Staging staging;
  mamba::cuda::Context context = {};  // on a stream of its own

  LinearWorkspace() {
    cudaStream_t stream = nullptr;
    LAB_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    context = workspace.on(stream);
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
