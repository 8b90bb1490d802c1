#pragma once
// What choosing a kernel takes again and again.
#include <cstddef>
#include <cstdint>

#include "core/float_type.h"

namespace mamba::cuda {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline bool aligned(const void* at, uint64_t bytes = 16) { return reinterpret_cast<uintptr_t>(at) % bytes == 0; }
// Whether every row is: `stride` elements of `element` bytes lie between two.
inline bool aligned_rows(const void* at, int64_t stride, size_t element, uint64_t bytes = 16) {
  return aligned(at, bytes) && static_cast<uint64_t>(stride) * element % bytes == 0;
}
// Whether rows are whole eights of elements, the first of which lies on 16 bytes: vectors of 16-bit elements.
inline bool rows_of_eights(const void* at, int64_t stride) { return aligned(at) && stride % 8 == 0; }

}  // namespace mamba::cuda
