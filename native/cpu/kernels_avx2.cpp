#include "cpu/kernels.h"
#include "cpu/linear.h"

#if defined(__x86_64__)

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

// In this order: each uses what those before it define.
// clang-format off
#include "cpu/simd/avx2.h"
#include "cpu/simd/math.inl"
#include "cpu/linear.inl"
#include "cpu/norm.inl"
#include "cpu/conv1d.inl"
#include "cpu/ssd.inl"
// clang-format on

namespace mamba::cpu {

extern const Kernels kernels_avx2;
const Kernels kernels_avx2 = {
    .isa = "avx2",
    .linear = avx2::linear,
    .pack_linear_weight = avx2::pack_linear_weight,
    .rms_norm = avx2::rms_norm,
    .gated_rms_norm = avx2::gated_rms_norm,
    .causal_conv1d_update = avx2::causal_conv1d_update,
    .causal_conv1d_varlen = avx2::causal_conv1d_varlen,
    .ssd_chunk_scan = avx2::ssd_chunk_scan,
    .ssd_state_update = avx2::ssd_state_update,
};

}  // namespace mamba::cpu

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__
