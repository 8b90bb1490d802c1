#pragma once
#include "cpu/thread_pool.h"
#include "ops/sampling.h"

namespace mamba::cpu {

void run_sample(const SampleParams& params, ThreadPool& pool);
void run_logprobs(const LogprobsParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
