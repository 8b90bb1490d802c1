#pragma once
#include "cpu/thread_pool.h"
#include "ops/moe.h"

namespace mamba::cpu {

void run_route(const RouteParams& params, ThreadPool& pool);
void run_local_experts(const LocalExpertsParams& params, ThreadPool& pool);
void run_sort_by_expert(const SortByExpertParams& params, ThreadPool& pool);
void run_moe_combine(const MoeCombineParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
