#pragma once
#include <cstddef>

namespace mamba {

// The bytes of a tensor of state: what ops.def calls POOL(name), and Params::<name>_pool() gives.
struct Pool {
  const void* data;
  size_t bytes;
};

}  // namespace mamba
