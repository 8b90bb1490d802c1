#include "cpu/kernels.h"
#include "cpu/linear.h"

#if defined(__x86_64__)

#ifdef __clang__
#pragma clang attribute push(                                                                                 \
    __attribute__((                                                                                           \
        target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own _mm512_undefined_* (PR 105593)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni,amx-tile,amx-bf16")
#endif

#define MAMBA_ISA_BF16
#define MAMBA_ISA_AMX

// The set comes before what is compiled for it.
// clang-format off
#include "cpu/simd/avx512.h"
#include "cpu/kernels_table.inl"
// clang-format on

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__
