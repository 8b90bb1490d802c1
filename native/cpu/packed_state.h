#pragma once
#include "ops/packed_state.h"

namespace mamba::cpu {

class ThreadPool;

void run_pack_state(const PackStateParams& params, ThreadPool& pool);
void run_unpack_state(const UnpackStateParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
