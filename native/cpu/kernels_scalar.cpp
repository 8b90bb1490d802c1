#include "cpu/kernels.h"
#include "cpu/linear.h"

// In this order: each uses what those before it define.
// clang-format off
#include "cpu/simd/scalar.h"
#include "cpu/simd/math.inl"
#include "cpu/linear.inl"
#include "cpu/norm.inl"
#include "cpu/conv1d.inl"
#include "cpu/ssd.inl"
// clang-format on

namespace mamba::cpu {

extern const Kernels kernels_scalar;
const Kernels kernels_scalar = {
    .isa = "scalar",
    .linear = scalar::linear,
    .pack_linear_weight = scalar::pack_linear_weight,
    .rms_norm = scalar::rms_norm,
    .gated_rms_norm = scalar::gated_rms_norm,
    .causal_conv1d_update = scalar::causal_conv1d_update,
    .causal_conv1d_varlen = scalar::causal_conv1d_varlen,
    .ssd_chunk_scan = scalar::ssd_chunk_scan,
    .ssd_state_update = scalar::ssd_state_update,
};

}  // namespace mamba::cpu
