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

inline constexpr int kRows = 4;

// A value head's gates of one token.
struct Gates {
  F32 keep, write;
};

// R channels, key_dim elements each: S <- keep S + write (v - keep S k) k^T and out = S q.
template <int R, class S, class T>
inline __attribute__((always_inline)) void update_rows(S* state, int64_t key_dim, const float* q, const float* k,
                                                       const Gates& gates, const T* v, T* out) {
  F32 sums[R];
  for (int r = 0; r < R; ++r) {
    S* row = state + r * key_dim;
    F32 found = zero();
    for_lanes(0, key_dim, [&](int64_t i, auto n) { found = fma(load_n(row + i, n), load_n(k + i, n), found); });
    const F32 value = set(sum(load_partial(v + r, 1)));
    const F32 error = gates.write * (value - gates.keep * set(sum(found)));
    F32 read = zero();
    for_lanes(0, key_dim, [&](int64_t i, auto n) {
      const F32 s = fma(error, load_n(k + i, n), gates.keep * load_n(row + i, n));
      store_n(row + i, s, n);
      read = fma(s, load_n(q + i, n), read);
    });
    sums[r] = read;
  }
  for (int r = 0; r < R; ++r) store_partial(out + r, set(sum(sums[r])), 1);
}

// `channels` channels, one after another in memory.
template <class S, class T>
__attribute__((noinline)) void update_channels(int64_t channels, S* state, int64_t key_dim, const float* q,
                                               const float* k, Gates gates, const T* v, T* out) {
  for (; channels >= kRows; channels -= kRows, state += kRows * key_dim, v += kRows, out += kRows) {
    update_rows<kRows>(state, key_dim, q, k, gates, v, out);
  }
  for (; channels > 0; --channels, state += key_dim, ++v, ++out) update_rows<1>(state, key_dim, q, k, gates, v, out);
}

template <class T, class Params>
inline Gates gates_of(const Params& p, int64_t token, int64_t head) {
  const F32 a = load_gate<T>(p.a, p.gate_dtype, token * p.a_stride + head) + set(p.dt_bias[head]);
  const F32 b = load_gate<T>(p.b, p.gate_dtype, token * p.b_stride + head);
  return {set(first_lane(exp(set(p.decay[head]) * softplus(a)))), set(first_lane(sigmoid(b)))};
}

// Query and key of one token and key head, as floats.
template <class T, class Params>
inline void load_query_key(const Params& p, int64_t token, int64_t key_head, float* q, float* k) {
  normalise(static_cast<const T*>(p.q) + token * p.q_stride + key_head * p.key_dim, p.key_dim, p.eps, p.scale, q);
  normalise(static_cast<const T*>(p.k) + token * p.k_stride + key_head * p.key_dim, p.key_dim, p.eps, 1.0f, k);
}

}  // namespace gdn
}  // namespace mamba::cpu::MAMBA_ISA

#include "cpu/gdn_chunk.inl"
#include "cpu/gdn_update.inl"
