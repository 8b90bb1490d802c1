#pragma once
#include "ops/slots.h"

namespace mamba::cpu {

class ThreadPool;

void run_copy_slots(const CopySlotsParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
