// Every kernel for one instruction set, and the table of them. kernels_<isa>.cpp includes this after the set's header,
// which names MAMBA_ISA.

// In this order: each uses what those before it define.
// clang-format off
#include "cpu/simd/math.inl"
#include "cpu/activation.inl"
#include "cpu/linear.inl"
#include "cpu/grouped_linear.inl"
#include "cpu/moe.inl"
#include "cpu/norm.inl"
#include "cpu/conv1d.inl"
#include "cpu/ssd.inl"
#include "cpu/gdn.inl"
#include "cpu/attention.inl"
// clang-format on

#define MAMBA_TEXT_OF(name) #name
#define MAMBA_TEXT(name) MAMBA_TEXT_OF(name)

namespace mamba::cpu::MAMBA_ISA {

extern const Kernels table;
const Kernels table = {
    .isa = MAMBA_TEXT(MAMBA_ISA),
    .linear = linear,
    .pack_linear_weight = pack_linear_weight,
    .grouped_linear = grouped_linear,
    .moe_combine = moe_combine,
    .activation = activation,
    .scale = scale,
    .rms_norm = rms_norm,
    .gated_rms_norm = gated_rms_norm,
    .square_sums = square_sums,
    .rms_norm_of_sums = rms_norm_of_sums,
    .causal_conv1d_update = causal_conv1d_update,
    .causal_conv1d_replay = causal_conv1d_replay,
    .causal_conv1d_varlen = causal_conv1d_varlen,
    .ssd_chunk_scan = ssd_chunk_scan,
    .ssd_state_update = ssd_state_update,
    .ssd_replay = ssd_replay,
    .gdn_chunk = gdn_chunk,
    .gdn_update = gdn_update,
    .gdn_replay = gdn_replay,
    .rope_store_kv = rope_store_kv,
    .attention = attention,
};

}  // namespace mamba::cpu::MAMBA_ISA
