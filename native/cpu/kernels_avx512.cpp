#include "cpu/kernels.h"
#include "cpu/linear.h"

#if defined(__x86_64__)

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own _mm512_undefined_* (PR 105593)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#endif

// In this order: each uses what those before it define.
// clang-format off
#include "cpu/simd/avx512.h"
#include "cpu/simd/math.inl"
#include "cpu/linear.inl"
#include "cpu/norm.inl"
#include "cpu/conv1d.inl"
#include "cpu/ssd.inl"
// clang-format on

namespace mamba::cpu {

extern const Kernels kernels_avx512;
const Kernels kernels_avx512 = {
    .isa = "avx512",
    .linear = avx512::linear,
    .pack_linear_weight = avx512::pack_linear_weight,
    .rms_norm = avx512::rms_norm,
    .gated_rms_norm = avx512::gated_rms_norm,
    .causal_conv1d_update = avx512::causal_conv1d_update,
    .causal_conv1d_varlen = avx512::causal_conv1d_varlen,
    .ssd_chunk_scan = avx512::ssd_chunk_scan,
    .ssd_state_update = avx512::ssd_state_update,
};

}  // namespace mamba::cpu

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__
