#include "cpu/kernels.h"
#include "cpu/linear.h"

#if defined(__x86_64__)

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

// The set comes before what is compiled for it.
// clang-format off
#include "cpu/simd/avx2.h"
#include "cpu/kernels_table.inl"
// clang-format on

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__
