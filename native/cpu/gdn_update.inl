// gdn_update: one row, some value heads.
//
// Idea. Two passes over each channel of the state (a run of key_dim elements), which stays in L1 between them: the
// first reads what the key finds there, the second writes the correction and reads with the query.
//
// Mapping. Vectors run along the key dimension, channel after channel in the order of memory; the sums across the lanes
// are made for kRows channels at once. Query and key are normalised into floats once per key head and token.
//
// Bound. Memory: value_heads V K elements of state read and written, 64 KiB per head at V = K = 128 and float.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace gdn {

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
