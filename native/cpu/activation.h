#pragma once
#include "cpu/thread_pool.h"
#include "ops/activation.h"

namespace mamba::cpu {

void run_activation(const ActivationParams& params, ThreadPool& pool);
void run_scale(const ScaleParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
