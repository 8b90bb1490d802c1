#pragma once
#include "ops/conv1d.h"

namespace mamba::cpu {

class ThreadPool;

void run_causal_conv1d_update(const CausalConv1dUpdateParams& params, ThreadPool& pool);
void run_causal_conv1d_replay(const CausalConv1dReplayParams& params, ThreadPool& pool);
void run_causal_conv1d_varlen(const CausalConv1dVarlenParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
