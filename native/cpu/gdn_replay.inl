// gdn_replay: one row, some value heads, by gdn_update's own loops; the idea and the bound are ssd_replay's.
#include "cpu/gdn_update.inl"
#include "cpu/history.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace gdn {

// Where an entry of the history has what.
struct EntryLayout {
  int64_t v, b, a;
  explicit EntryLayout(const GdnReplayParams& p)
      : v(p.key_heads * p.key_dim), b(v + p.value_heads * p.value_dim), a(b + p.value_heads) {}
};

// The call that puts one token of the history into a state. What its query would read is not wanted.
template <class T>
inline GdnUpdateParams absorbing(const GdnReplayParams& p, const T* entry) {
  const EntryLayout at(p);
  GdnUpdateParams one = p;
  one.q = one.k = entry;
  one.v = entry + at.v;
  one.b = entry + at.b;
  one.a = entry + at.a;
  return one;
}

// v and the gates of these heads, and k of the key heads whose first value head is among them.
template <class T>
inline void keep(const GdnReplayParams& p, int64_t token, Range heads, T* entry) {
  const EntryLayout at(p);
  const int64_t count = heads.end - heads.begin, per_key = p.value_heads / p.key_heads;
  const auto from = [&](const void* data, int64_t stride) { return static_cast<const T*>(data) + token * stride; };
  copy_run(entry + at.v + heads.begin * p.value_dim, from(p.v, p.v_stride) + heads.begin * p.value_dim,
           count * p.value_dim);
  copy_run(entry + at.b + heads.begin, from(p.b, p.b_stride) + heads.begin, count);
  copy_run(entry + at.a + heads.begin, from(p.a, p.a_stride) + heads.begin, count);
  for (int64_t head = (heads.begin + per_key - 1) / per_key; head * per_key < heads.end; ++head) {
    copy_run(entry + head * p.key_dim, from(p.k, p.k_stride) + head * p.key_dim, p.key_dim);
  }
}

template <class T>
void replay(const GdnReplayParams& p, int64_t row, Range heads, float* scratch) {
  const int64_t tokens = p.tokens_per_row, first = row * tokens, slot = valid_slot(p.slots[row], p.slots_in_pool);
  T* out = static_cast<T*>(p.out) + first * p.out_stride;
  if (slot < 0) {
    for (int64_t t = 0; t < tokens; ++t) {
      store_zeros(out + t * p.out_stride + heads.begin * p.value_dim, (heads.end - heads.begin) * p.value_dim);
    }
    return;
  }
  const Ring<T> ring(p.history, slot);
  const Lag lag = lag_of(p.replay[row], ring.entries, tokens);
  const int64_t elements = p.value_dim * p.key_dim;
  float *q = scratch, *k = q + p.key_dim, *copy = k + p.key_dim;
  T* nowhere = reinterpret_cast<T*>(copy + elements);
  with_float_type(p.state_dtype, [&](auto s) {
    using S = decltype(s);
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      const auto run = [&](const GdnUpdateParams& one, S* state, int64_t token, T* to) {
        load_query_key<T>(one, token, h / (p.value_heads / p.key_heads), q, k);
        const T* v = static_cast<const T*>(one.v) + token * one.v_stride + h * p.value_dim;
        update_channels(p.value_dim, state, p.key_dim, q, k, gates_of<T>(one, token, h), v, to);
      };
      replay_head(
          static_cast<S*>(p.state) + slot * p.state_slot_stride + h * elements, reinterpret_cast<S*>(copy), elements,
          lag, tokens, [&](S* lagging, int64_t token) { run(absorbing(p, ring.at(token)), lagging, 0, nowhere); },
          [&](S* ahead, int64_t t) { run(p, ahead, first + t, out + t * p.out_stride + h * p.value_dim); });
    }
  });
  for (int64_t t = 0; t < tokens; ++t) keep(p, first + t, heads, ring.at(lag.first + t));
}

}  // namespace gdn

// `scratch` holds gdn_replay_scratch_bytes(p).
inline void gdn_replay(const GdnReplayParams& p, int64_t row, Range heads, void* scratch) {
  with_float_type(p.dtype, [&](auto t) { gdn::replay<decltype(t)>(p, row, heads, static_cast<float*>(scratch)); });
}

}  // namespace mamba::cpu::MAMBA_ISA
