// gdn_update: one row, some value heads.
//
// Idea. Two passes over each channel of the state (a run of key_dim elements), which stays in L1 between them: the
// first reads what the key finds there, the second writes the correction and reads with the query.
//
// Mapping. Vectors run along the key dimension, channel after channel in the order of memory; the sums across the lanes
// are made for kChannels channels at once. Query and key are normalised into floats once per key head and token.
//
// Bound. Memory: value_heads V K elements of state read and written, 64 KiB per head at V = K = 128 and float.
#pragma once
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace gdn {

inline constexpr int kChannels = 4;

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
  for (; channels >= kChannels; channels -= kChannels, state += kChannels * key_dim, v += kChannels, out += kChannels) {
    update_rows<kChannels>(state, key_dim, q, k, gates, v, out);
  }
  for (; channels > 0; --channels, state += key_dim, ++v, ++out) update_rows<1>(state, key_dim, q, k, gates, v, out);
}

template <class T>
inline Gates gates_of(const GdnUpdateParams& p, int64_t token, int64_t head) {
  const F32 a = load_gate<T>(p.a, p.gate_dtype, token * p.a_stride + head) + set(p.dt_bias[head]);
  const F32 b = load_gate<T>(p.b, p.gate_dtype, token * p.b_stride + head);
  return {set(first_lane(exp(set(p.decay[head]) * softplus(a)))), set(first_lane(sigmoid(b)))};
}

// Query and key of one token and key head, as floats.
template <class T>
inline void load_query_key(const GdnUpdateParams& p, int64_t token, int64_t key_head, float* q, float* k) {
  normalise(static_cast<const T*>(p.q) + token * p.q_stride + key_head * p.key_dim, p.key_dim, p.eps, p.scale, q);
  normalise(static_cast<const T*>(p.k) + token * p.k_stride + key_head * p.key_dim, p.key_dim, p.eps, 1.0f, k);
}

template <class T>
void update(const GdnUpdateParams& p, int64_t row, Range heads, float* scratch) {
  const int64_t slot = valid_slot(p.slots[row], p.slots_in_pool), first = row * p.tokens_per_row;
  T* out = static_cast<T*>(p.out);
  float *q = scratch, *k = scratch + p.key_dim;
  for (int64_t token = first; token < first + p.tokens_per_row; ++token) {
    if (slot < 0) {
      store_zeros(out + token * p.out_stride + heads.begin * p.value_dim, (heads.end - heads.begin) * p.value_dim);
      continue;
    }
    int64_t loaded = -1;
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      const int64_t key_head = h / (p.value_heads / p.key_heads);
      if (key_head != loaded) load_query_key<T>(p, token, loaded = key_head, q, k);
      const Gates gates = gates_of<T>(p, token, h);
      const T* v = static_cast<const T*>(p.v) + token * p.v_stride + h * p.value_dim;
      with_float_type(p.state_dtype, [&](auto s) {
        auto* state = static_cast<decltype(s)*>(p.state) + slot * p.state_slot_stride + h * p.value_dim * p.key_dim;
        update_channels(p.value_dim, state, p.key_dim, q, k, gates, v, out + token * p.out_stride + h * p.value_dim);
      });
    }
  }
}

}  // namespace gdn

// `scratch` holds gdn_update_scratch_bytes(p).
inline void gdn_update(const GdnUpdateParams& p, int64_t row, Range heads, void* scratch) {
  with_float_type(p.dtype, [&](auto t) { gdn::update<decltype(t)>(p, row, heads, static_cast<float*>(scratch)); });
}

}  // namespace mamba::cpu::MAMBA_ISA
