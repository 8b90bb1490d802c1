#pragma once
#include "cpu/thread_pool.h"
#include "ops/collectives.h"

namespace mamba::cpu {

void run_all_reduce(const AllReduceParams& params, ThreadPool& pool);
void run_all_gather(const AllGatherParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
