#pragma once
// What choosing a kernel takes again and again.
#include <cstdint>

#include "core/dtype.h"

namespace mamba::cuda {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// f(an element of a float type), so that the type becomes a template argument.
template <class F>
void with_type(DType type, F f) {
  if (type == DType::f32) return f(float());
  if (type == DType::bf16) return f(bf16());
  f(f16());
}

}  // namespace mamba::cuda
