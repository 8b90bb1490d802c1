// gdn_chunk: one sequence, some values of one value head, token by token over a state of floats in scratch.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace gdn {

template <class T>
void chunk(const GdnChunkParams& p, int64_t sequence, int64_t head, Range values, float* scratch) {
  const int64_t begin = p.query_start_loc[sequence], end = p.query_start_loc[sequence + 1];
  if (begin == end) return;
  const int64_t count = values.end - values.begin, size = count * p.key_dim;
  T* out = static_cast<T*>(p.out) + head * p.value_dim + values.begin;
  const int64_t slot = valid_slot(p.slots[sequence], p.slots_in_pool);
  if (slot < 0) {
    for (int64_t t = begin; t < end; ++t) store_zeros(out + t * p.out_stride, count);
    return;
  }
  float *q = scratch, *k = q + p.key_dim, *state = k + p.key_dim;
  const int64_t at = slot * p.state_slot_stride + (head * p.value_dim + values.begin) * p.key_dim;
  with_float_type(p.state_dtype, [&](auto s) {
    const auto* from = static_cast<const decltype(s)*>(p.state) + at;
    if (p.has_initial_state[sequence] == 0) return store_zeros(state, size);
    for_lanes(0, size, [&](int64_t i, auto n) { store_n(state + i, load_n(from + i, n), n); });
  });
  const T* v = static_cast<const T*>(p.v) + head * p.value_dim + values.begin;
  for (int64_t t = begin; t < end; ++t) {
    load_query_key<T>(p, t, head / (p.value_heads / p.key_heads), q, k);
    update_channels(count, state, p.key_dim, q, k, gates_of<T>(p, t, head), v + t * p.v_stride, out + t * p.out_stride);
  }
  with_float_type(p.state_dtype, [&](auto s) {
    auto* to = static_cast<decltype(s)*>(p.state) + at;
    for_lanes(0, size, [&](int64_t i, auto n) { store_n(to + i, load_n(state + i, n), n); });
  });
}

}  // namespace gdn

// `scratch` holds gdn_chunk_scratch_bytes(p).
inline void gdn_chunk(const GdnChunkParams& p, int64_t sequence, int64_t head, Range values, void* scratch) {
  with_float_type(p.dtype,
                  [&](auto t) { gdn::chunk<decltype(t)>(p, sequence, head, values, static_cast<float*>(scratch)); });
}

}  // namespace mamba::cpu::MAMBA_ISA
