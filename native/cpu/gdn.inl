// The gated delta rule, and what its two ops share.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace gdn {

// Element i of a [tokens, value_heads] gate in a register's first lane.
template <class T>
inline F32 load_gate(const void* gates, DType gate_dtype, int64_t i) {
  return gate_dtype == DType::f32 ? load_partial(static_cast<const float*>(gates) + i, 1)
                                  : load_partial(static_cast<const T*>(gates) + i, 1);
}

inline float first_lane(F32 a) {
  float lanes[F32::lanes];
  store(lanes, a);
  return lanes[0];
}

// dst = x scale / sqrt(sum x^2 + eps).
template <class T>
inline void normalise(const T* x, int64_t count, float eps, float scale, float* dst) {
  F32 squares = zero();
  for_lanes(0, count, [&](int64_t i, auto n) {
    const F32 v = load_n(x + i, n);
    squares = fma(v, v, squares);
  });
  const F32 factor = set(scale / __builtin_sqrtf(sum(squares) + eps));
  for_lanes(0, count, [&](int64_t i, auto n) { store_n(dst + i, load_n(x + i, n) * factor, n); });
}

}  // namespace gdn
}  // namespace mamba::cpu::MAMBA_ISA

#include "cpu/gdn_chunk.inl"
#include "cpu/gdn_replay.inl"
#include "cpu/gdn_update.inl"
