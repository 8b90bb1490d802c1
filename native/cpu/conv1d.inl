// causal_conv1d_update (one token), causal_conv1d_replay (a row of them) and causal_conv1d_varlen (a block), for a
// range of channels.
//
// Idea. y[t] = silu(bias + sum_j weight[j] x[t - (width - 1) + j]): a few multiply-adds per channel along time, so
// channels go across the lanes and nothing is ever summed across them.
//
// Mapping. Varlen walks kSteps tokens at a time over all channels of the range: the weights are loaded once for kSteps
// outputs and each input is used for all of its taps while it is in a register or L1. The first width - 1 tokens of a
// sequence may read the slot's window and are done one by one, as is the rest of a division by kSteps.
//
// Bound. Memory for plain convolution (one read, one write per element); with silu its exp and division, about 25
// instructions per register.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace conv {

inline constexpr int kSteps = 4;

// The window's oldest input comes first, and so does its product.
template <int W>
inline F32 apply(const F32* window, const F32 (&taps)[W], F32 bias, bool with_silu) {
  F32 y = bias;
  for (int j = 0; j < W; ++j) y = fma(window[j], taps[j], y);
  return with_silu ? silu(y) : y;
}

template <int W, class Count>
inline void load_taps(F32 (&taps)[W], const float* weight, int64_t dim, int64_t c, Count n) {
  for (int j = 0; j < W; ++j) taps[j] = load_n(weight + j * dim + c, n);
}

template <class Count>
inline F32 load_bias(const float* bias, int64_t c, Count n) {
  return bias ? load_n(bias + c, n) : zero();
}

template <int W, class T, class S>
void update(const CausalConv1dUpdateParams& p, int64_t row, Range channels) {
  const T* x = static_cast<const T*>(p.x) + row * p.x_stride;
  T* out = static_cast<T*>(p.out) + row * p.out_stride;
  const int64_t slot = valid_slot(p.slots[row], p.slots_in_pool);
  if (slot < 0) return store_zeros(out + channels.begin, channels.end - channels.begin);
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride;
  for_lanes(channels.begin, channels.end, [&](int64_t c, auto n) {
    F32 taps[W], window[W];
    load_taps(taps, p.weight, p.dim, c, n);
    for (int j = 0; j < W - 1; ++j) window[j] = load_n(state + j * p.dim + c, n);
    window[W - 1] = load_n(x + c, n);
    for (int j = 0; j < W - 1; ++j) store_n(state + j * p.dim + c, window[j + 1], n);
    store_n(out + c, apply(window, taps, load_bias(p.bias, c, n), p.silu), n);
  });
}

// The row's tokens in order, with the window a ring. An input is read back as it was stored, as the next call would.
template <int W, class T, class S>
void replay(const CausalConv1dReplayParams& p, int64_t row, Range channels) {
  const int64_t begin = row * p.tokens_per_row, slot = valid_slot(p.slots[row], p.slots_in_pool);
  T* out = static_cast<T*>(p.out) + begin * p.out_stride;
  if (slot < 0) {
    for (int64_t t = 0; t < p.tokens_per_row; ++t) {
      store_zeros(out + t * p.out_stride + channels.begin, channels.end - channels.begin);
    }
    return;
  }
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride;
  const int64_t first = p.replay[row].first < 0 ? 0 : p.replay[row].first;
  for (int64_t t = 0; t < p.tokens_per_row; ++t) {
    const T* x = static_cast<const T*>(p.x) + (begin + t) * p.x_stride;
    S* entry[W];  // found here: a division takes as long as a register of channels
    for (int j = 0; j < W; ++j) entry[j] = state + (first + t + j) % p.entries * p.dim;
    for_lanes(channels.begin, channels.end, [&](int64_t c, auto n) {
      F32 taps[W], window[W];
      load_taps(taps, p.weight, p.dim, c, n);
      for (int j = 0; j < W - 1; ++j) window[j] = load_n(entry[j] + c, n);
      window[W - 1] = load_n(x + c, n);
      store_n(entry[W - 1] + c, window[W - 1], n);
      store_n(out + t * p.out_stride + c, apply(window, taps, load_bias(p.bias, c, n), p.silu), n);
    });
  }
}

// One sequence. Positions count from its first token; those below zero are in the slot's window, or zero.
template <int W, class T, class S>
struct Sequence {
  const T* x;
  S* state;
  int64_t x_stride, dim;
  bool has_initial_state;

  template <class Count>
  F32 input(int64_t position, int64_t c, Count n) const {
    if (position >= 0) return load_n(x + position * x_stride + c, n);
    return has_initial_state ? load_n(state + (position + W - 1) * dim + c, n) : zero();
  }

  // The inputs of the last W - 1 positions become the window. Ascending: a slot's row is read before it is overwritten.
  void store_window(int64_t length, Range channels) const {
    for (int j = 0; j < W - 1; ++j) {
      for_lanes(channels.begin, channels.end,
                [&](int64_t c, auto n) { store_n(state + j * dim + c, input(length - (W - 1) + j, c, n), n); });
    }
  }
};

// kSteps tokens, the first at x and out, with none of their inputs in the slot's window. Not inlined: one copy for all
// types of state.
template <int W, class T>
__attribute__((noinline)) void apply_steps(const CausalConv1dVarlenParams& p, const T* x, T* out, Range channels) {
  for_lanes(channels.begin, channels.end, [&](int64_t c, auto n) {
    const F32 bias = load_bias(p.bias, c, n);
    F32 taps[W], window[W - 1 + kSteps];
    load_taps(taps, p.weight, p.dim, c, n);
    for (int i = 0; i < W - 1 + kSteps; ++i) window[i] = load_n(x + (i - (W - 1)) * p.x_stride + c, n);
    for (int i = 0; i < kSteps; ++i) store_n(out + i * p.out_stride + c, apply(window + i, taps, bias, p.silu), n);
  });
}

template <int W, class T, class S>
void varlen(const CausalConv1dVarlenParams& p, int64_t block, Range channels) {
  const int64_t sequence = p.block_seq[block], first = p.query_start_loc[sequence];
  const int64_t length = p.query_start_loc[sequence + 1] - first;
  const int64_t begin = p.block_offset[block] * p.block_size, end = smaller(begin + p.block_size, length);
  const int64_t slot = valid_slot(p.slots[sequence], p.slots_in_pool);
  T* out = static_cast<T*>(p.out) + first * p.out_stride;
  if (slot < 0) {
    for (int64_t t = begin; t < end; ++t) {
      store_zeros(out + t * p.out_stride + channels.begin, channels.end - channels.begin);
    }
    return;
  }
  const Sequence<W, T, S> s = {static_cast<const T*>(p.x) + first * p.x_stride,
                               static_cast<S*>(p.state) + slot * p.state_slot_stride, p.x_stride, p.dim,
                               p.has_initial_state[sequence] != 0};
  for (int64_t t = begin; t < end;) {
    if (t >= W - 1 && end - t >= kSteps) {
      apply_steps<W>(p, s.x + t * p.x_stride, out + t * p.out_stride, channels);
      t += kSteps;
      continue;
    }
    for_lanes(channels.begin, channels.end, [&](int64_t c, auto n) {
      F32 taps[W], window[W];
      load_taps(taps, p.weight, p.dim, c, n);
      for (int i = 0; i < W; ++i) window[i] = s.input(t - (W - 1) + i, c, n);
      store_n(out + t * p.out_stride + c, apply(window, taps, load_bias(p.bias, c, n), p.silu), n);
    });
    ++t;
  }
  if (begin == 0) s.store_window(length, channels);
}

// f(width as a constant, x's type, the state's type)
template <int W>
struct Width {
  static constexpr int value = W;
};
template <class Params, class F>
inline void dispatch(const Params& p, F f) {
  with_float_type(p.x_dtype, [&](auto t) {
    with_float_type(p.state_dtype, [&](auto s) {
      switch (p.width) {
        case 2:
          return f(Width<2>(), t, s);
        case 3:
          return f(Width<3>(), t, s);
        default:
          return f(Width<4>(), t, s);
      }
    });
  });
}

}  // namespace conv

inline void causal_conv1d_update(const CausalConv1dUpdateParams& p, int64_t row, Range channels) {
  conv::dispatch(
      p, [&](auto w, auto t, auto s) { conv::update<decltype(w)::value, decltype(t), decltype(s)>(p, row, channels); });
}

inline void causal_conv1d_replay(const CausalConv1dReplayParams& p, int64_t row, Range channels) {
  conv::dispatch(
      p, [&](auto w, auto t, auto s) { conv::replay<decltype(w)::value, decltype(t), decltype(s)>(p, row, channels); });
}

inline void causal_conv1d_varlen(const CausalConv1dVarlenParams& p, int64_t block, Range channels) {
  conv::dispatch(p, [&](auto w, auto t, auto s) {
    conv::varlen<decltype(w)::value, decltype(t), decltype(s)>(p, block, channels);
  });
}

}  // namespace mamba::cpu::MAMBA_ISA
