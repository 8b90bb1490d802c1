#pragma once
#include "core/dtype.h"

namespace mamba {

// f(an element of a float type), so that the type becomes a template argument. Kernels that are compiled for several
// instruction sets have one of their own (cpu/simd/vectors.inl; its README says why).
template <class F>
void with_float_type(DType type, F&& f) {
  switch (type) {
    case DType::f32:
      return f(float());
    case DType::bf16:
      return f(bf16());
    default:
      return f(f16());
  }
}

}  // namespace mamba
