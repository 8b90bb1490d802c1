#pragma once
#include "cpu/thread_pool.h"
#include "ops/linear_activation.h"

namespace mamba::cpu {

void run_linear_activation(const LinearActivationParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
