// The state-space ops, and what they share.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {

// dt' = clamp(softplus(dt + bias)). A NaN stays one: min and max return their second operand then.
inline F32 time_step(F32 dt, F32 bias, bool with_softplus, float dt_min, float dt_max) {
  const F32 v = with_softplus ? softplus(dt + bias) : dt + bias;
  return min(set(dt_max), max(set(dt_min), v));
}

}  // namespace mamba::cpu::MAMBA_ISA

#include "cpu/ssd_chunk_scan.inl"
#include "cpu/ssd_replay.inl"
#include "cpu/ssd_state_update.inl"
