#pragma once
#include <cstdint>

#include "ops/pool.h"

namespace mamba {

struct CopySlotsParams {
  int64_t copies, slots;
  int64_t slot_bytes, slot_stride;  // bytes
  void* pool;                       // [slots], each of slot_bytes
  const int32_t *from, *to;         // [copies]; a pair with one outside [0, slots) is left out

  Pool pool_pool() const { return {pool, static_cast<size_t>(slots * slot_stride)}; }
};

}  // namespace mamba
