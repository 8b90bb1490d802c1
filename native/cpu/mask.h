#pragma once
#include "cpu/thread_pool.h"
#include "ops/mask.h"

namespace mamba::cpu {

void run_mask_logits(const MaskLogitsParams& params, ThreadPool& pool);
void run_add_logit_bias(const AddLogitBiasParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
