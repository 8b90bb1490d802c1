#pragma once
#include "cpu/thread_pool.h"
#include "ops/penalties.h"

namespace mamba::cpu {

void run_count_tokens(const CountTokensParams& params, ThreadPool& pool);
void run_apply_penalties(const ApplyPenaltiesParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
