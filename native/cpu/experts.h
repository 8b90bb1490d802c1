#pragma once
#include "cpu/thread_pool.h"
#include "ops/experts.h"

namespace mamba::cpu {

void run_linear_route(const LinearRouteParams& params, ThreadPool& pool);
void run_experts(const ExpertsParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
