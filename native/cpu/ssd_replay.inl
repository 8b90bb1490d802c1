// ssd_replay: one row, some heads, each by the state update's own loops.
//
// Idea. The tokens that a head's state lacks go through it where it lies, the row's own through a copy that stays in
// the cache: whatever is taken back then was never written.
//
// Bound. Memory: heads P N elements of state read, and written where it settles; the passes over the copy are of L2.
#include "cpu/history.inl"
#include "cpu/ssd_state_update.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace step {

// The call that puts one token of the history into a state.
template <class T>
inline SsdStateUpdateParams absorbing(const SsdReplayParams& p, const T* entry) {
  SsdStateUpdateParams one = p;
  one.dt = entry + p.heads * p.head_dim + p.groups * p.state_size;
  one.d = nullptr;
  one.z = nullptr;
  return one;
}

// x and the time steps of these heads, and B of the groups whose first head is among them.
template <class T>
inline void keep(const SsdReplayParams& p, int64_t token, Range heads, T* entry) {
  const T* x = static_cast<const T*>(p.x) + token * p.x_stride;
  const T* dt = static_cast<const T*>(p.dt) + token * p.dt_row_stride;
  const T* b = static_cast<const T*>(p.b) + token * p.b_stride;
  const int64_t inner = p.heads * p.head_dim, count = heads.end - heads.begin, per_group = p.heads / p.groups;
  copy_run(entry + heads.begin * p.head_dim, x + heads.begin * p.head_dim, count * p.head_dim);
  copy_run(entry + inner + p.groups * p.state_size + heads.begin, dt + heads.begin, count);
  for (int64_t group = (heads.begin + per_group - 1) / per_group; group * per_group < heads.end; ++group) {
    copy_run(entry + inner + group * p.state_size, b + group * p.state_size, p.state_size);
  }
}

template <class T>
void replay(const SsdReplayParams& p, int64_t row, Range heads, void* scratch) {
  const int64_t tokens = p.tokens_per_row, first = row * tokens, slot = valid_slot(p.slots[row], p.slots_in_pool);
  T* out = static_cast<T*>(p.out) + first * p.out_stride;
  if (slot < 0) {
    for (int64_t t = 0; t < tokens; ++t) {
      store_zeros(out + t * p.out_stride + heads.begin * p.head_dim, (heads.end - heads.begin) * p.head_dim);
    }
    return;
  }
  const Ring<T> ring(p.history, slot);
  const Lag lag = lag_of(p.replay[row], ring.entries, tokens);
  const int64_t elements = p.head_dim * p.state_size;
  T* nowhere = reinterpret_cast<T*>(static_cast<float*>(scratch) + elements) - heads.begin * p.head_dim;
  with_float_type(p.state_dtype, [&](auto s) {
    using S = decltype(s);
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + h * elements;
      // tied() finds a head's state h * elements behind where it is told that a slot begins.
      const auto run = [&](const SsdStateUpdateParams& one, const Operands<T>& o, S* head_state, int64_t token) {
        SsdStateUpdateParams call = one;
        call.state = head_state;
        tied<T>(call, o, -h * elements, token, {h, h + 1});
      };
      replay_head(
          state, static_cast<S*>(scratch), elements, lag, tokens,
          [&](S* lagging, int64_t token) {
            const T* entry = ring.at(token);
            const T* b = entry + p.heads * p.head_dim;
            run(absorbing(p, entry), {entry, b, b, nullptr, nowhere}, lagging, 0);
          },
          [&](S* ahead, int64_t t) {
            const int64_t at = first + t;
            run(p,
                {static_cast<const T*>(p.x) + at * p.x_stride, static_cast<const T*>(p.b) + at * p.b_stride,
                 static_cast<const T*>(p.c) + at * p.c_stride,
                 p.z ? static_cast<const T*>(p.z) + at * p.z_stride : nullptr, out + t * p.out_stride},
                ahead, at);
          });
    }
  });
  for (int64_t t = 0; t < tokens; ++t) keep(p, first + t, heads, ring.at(lag.first + t));
}

}  // namespace step

// `scratch` holds ssd_replay_scratch_bytes(p, heads).
inline void ssd_replay(const SsdReplayParams& p, int64_t row, Range heads, void* scratch) {
  with_float_type(p.dtype, [&](auto t) { step::replay<decltype(t)>(p, row, heads, scratch); });
}

}  // namespace mamba::cpu::MAMBA_ISA
