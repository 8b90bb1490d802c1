#include "cpu/kernels.h"
#include "cpu/linear.h"

#if defined(__aarch64__)

// The set comes before what is compiled for it.
// clang-format off
#include "cpu/simd/neon.h"
#include "cpu/kernels_table.inl"
// clang-format on

#endif  // __aarch64__
