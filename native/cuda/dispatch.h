#pragma once
// What choosing a kernel takes again and again.
#include <cstdint>

#include "core/float_type.h"

namespace mamba::cuda {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace mamba::cuda
