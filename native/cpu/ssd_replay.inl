// ssd_replay: one row, some heads, each of which goes through all tokens of the step at once.
//
// Idea. A register tile of the state is read once, taken through the tokens that the state lacks and then through the
// row's own, and written once between the two, after them, or not at all: whatever is taken back then was never
// written. What is done to an element, and in which order a channel is summed, is the state update's, and so are the
// bits.
//
// Mapping. kReplayChannels channels x kReplayVectors registers along the state's last dimension; a token's B and C are
// loaded once for all channels of a tile. The factors of all tokens are made as floats beforehand.
//
// Bound. For few tokens memory: heads P N elements of state read, and written where it settles. Then multiply-adds:
// for each element two of a token that the state lacks, three of one of the row.
#include "cpu/history.inl"
#include "cpu/ssd_state_update.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace step {

inline constexpr int kReplayVectors = 4;
inline constexpr int kReplayChannels = F32::lanes == 8 ? 2 : 4;  // 16 registers of AVX2, 32 elsewhere

// What tokens bring to one head: `held` that its state lacks, then `own` of the row.
struct HeadTokens {
  int64_t held, own, channels, state_size;
  int32_t settles;     // a Settles
  const float* decay;  // [held + own]
  const float* x;      // [held + own, channels], times the time step
  const float* b;      // [held + own, state_size]
  const float* c;      // [own, state_size]
  float* y;            // [own, channels]
};

// As a state of type S gives it back.
template <class S>
inline F32 rounded(F32 s) {
  if constexpr (sizeof(S) == sizeof(float)) return s;
  S run[F32::lanes];
  store(run, s);
  return load(run);
}

// R channels from `channel` on, V registers of each from element n on, of `lanes` each. Sums [own][R] go on.
template <int R, int V, class S, class Count>
inline __attribute__((always_inline)) void replay_tile(S* state, const HeadTokens& h, int64_t channel, int64_t n,
                                                       Count lanes, F32 (*sums)[R]) {
  S* first = state + channel * h.state_size + n;
  F32 s[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) s[r][v] = load_n(first + r * h.state_size + v * F32::lanes, lanes);
  }
  const auto settle = [&] {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) store_n(first + r * h.state_size + v * F32::lanes, s[r][v], lanes);
    }
  };
  // `reads`: whether the token puts out what it finds.
  const auto take = [&](int64_t token, auto reads) {
    const F32 decay = set(h.decay[token]);
    F32 x[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) x[r] = set(h.x[token * h.channels + channel + r]);
    F32* sum = sums[reads() ? token - h.held : 0];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      const F32 b = load_n(h.b + token * h.state_size + n + v * F32::lanes, lanes);
      F32 c = zero();
      if constexpr (reads()) c = load_n(h.c + (token - h.held) * h.state_size + n + v * F32::lanes, lanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F32 next = fma(x[r], b, decay * s[r][v]);
        if constexpr (reads()) sum[r] = fma(next, c, sum[r]);
        s[r][v] = rounded<S>(next);
      }
    }
  };
  for (int64_t token = 0; token < h.held; ++token) take(token, std::false_type());
  if (h.settles == kSettlesHeld) settle();
  for (int64_t token = h.held; token < h.held + h.own; ++token) take(token, std::true_type());
  if (h.settles == kSettlesAll) settle();
}

// R channels at a time, a piece of each summed as by the state update. Not inlined: one copy for all types of x.
template <int R, class S>
__attribute__((noinline)) void replay_channels(Range channels, S* state, const HeadTokens& h) {
  constexpr int64_t kRun = kReplayVectors * F32::lanes;
  for (; channels.begin + R <= channels.end; channels.begin += R) {
    for (int64_t begin = 0; begin < h.state_size; begin += kPiece) {
      const int64_t end = smaller(begin + kPiece, h.state_size);
      F32 sums[kMostReplayTokens][R];
      for (int64_t t = 0; t < h.own; ++t) {
        for (int r = 0; r < R; ++r) sums[t][r] = zero();
      }
      int64_t n = begin;
      for (; n + kRun <= end; n += kRun) {
        replay_tile<R, kReplayVectors>(state, h, channels.begin, n, AllLanes(), sums);
      }
      for_lanes(n, end, [&](int64_t at, auto lanes) { replay_tile<R, 1>(state, h, channels.begin, at, lanes, sums); });
      for (int64_t t = 0; t < h.own; ++t) {
        for (int r = 0; r < R; ++r) h.y[t * h.channels + channels.begin + r] += sum(sums[t][r]);
      }
    }
  }
  if constexpr (R > 1) replay_channels<1>(channels, state, h);
}

// The time steps of all tokens and their decays for one head, a lane each.
inline void head_factors(const SsdReplayParams& p, int64_t h, int64_t tokens, float* dt, float* decay) {
  const F32 bias = p.dt_bias ? load_strided(p.dt_bias + h * p.dt_bias_head_stride, 0, AllLanes()) : zero();
  const F32 a = load_strided(p.a + h * p.a_head_stride, 0, AllLanes());
  for_lanes(0, tokens, [&](int64_t t, auto n) {
    const F32 v = time_step(load_n(dt + t, n), bias, p.dt_softplus, p.dt_min, p.dt_max);
    store_n(dt + t, v, n);
    store_n(decay + t, exp(v * a), n);
  });
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

// A run of a token as floats, each times `factor`.
template <class T>
inline void widen(float* to, const T* from, int64_t count, F32 factor) {
  for_lanes(0, count, [&](int64_t i, auto n) { store_n(to + i, load_n(from + i, n) * factor, n); });
}

template <class T>
void replay(const SsdReplayParams& p, int64_t row, Range heads, float* scratch) {
  const int64_t own = p.tokens_per_row, first = row * own, slot = valid_slot(p.slots[row], p.slots_in_pool);
  const int64_t count = heads.end - heads.begin;
  const auto at = [&](const void* data, int64_t stride, int64_t t) {
    return static_cast<const T*>(data) + (first + t) * stride;
  };
  T* out = static_cast<T*>(p.out) + first * p.out_stride;
  if (slot < 0) {
    for (int64_t t = 0; t < own; ++t) {
      store_zeros(out + t * p.out_stride + heads.begin * p.head_dim, count * p.head_dim);
    }
    return;
  }
  const Ring<T> ring(p.history, slot);
  const Lag lag = lag_of(p.replay[row], ring.entries, own);
  const int64_t held = lag.first - lag.begin, all = held + own;
  float* const dt = scratch;                         // [all]
  float* const decay = dt + ring.entries;            // [all]
  float* const x = decay + ring.entries;             // [all][head_dim]
  float* const y = x + ring.entries * p.head_dim;    // [own][head_dim]
  float* const b = y + own * p.head_dim;             // [all][state_size]
  float* const c = b + ring.entries * p.state_size;  // [own][state_size]
  int64_t loaded = -1;
  for (int64_t h = heads.begin; h < heads.end; ++h) {
    const int64_t group = h / (p.heads / p.groups), from = group * p.state_size, channel = h * p.head_dim;
    const int64_t inner = p.heads * p.head_dim;
    for (int64_t t = 0; t < all; ++t) {
      if (t < held) {
        store_partial(dt + t, load_partial(ring.at(lag.begin + t) + inner + p.groups * p.state_size + h, 1), 1);
      } else {
        store_partial(dt + t, load_dt<T>(p, (first + t - held) * p.dt_row_stride + h * p.dt_head_stride, 1, 1), 1);
      }
    }
    head_factors(p, h, all, dt, decay);
    for (int64_t t = 0; t < all; ++t) {
      const T* entry = t < held ? ring.at(lag.begin + t) : nullptr;
      widen(x + t * p.head_dim, (entry ? entry : at(p.x, p.x_stride, t - held)) + channel, p.head_dim, set(dt[t]));
      if (group == loaded) continue;
      widen(b + t * p.state_size, (entry ? entry + inner : at(p.b, p.b_stride, t - held)) + from, p.state_size, set(1));
      if (!entry) widen(c + (t - held) * p.state_size, at(p.c, p.c_stride, t - held) + from, p.state_size, set(1));
    }
    loaded = group;
    for (int64_t i = 0; i < own * p.head_dim; ++i) y[i] = 0;
    with_float_type(p.state_dtype, [&](auto s) {
      auto* state = static_cast<decltype(s)*>(p.state) + slot * p.state_slot_stride + channel * p.state_size;
      replay_channels<kReplayChannels>({0, p.head_dim}, state,
                                       {held, own, p.head_dim, p.state_size, lag.settles, decay, x, b, c, y});
    });
    for (int64_t t = 0; t < own; ++t) {
      const Operands<T> o = {at(p.x, p.x_stride, t), nullptr, nullptr, p.z ? at(p.z, p.z_stride, t) : nullptr,
                             out + t * p.out_stride};
      write_out(p, o, h, 0, p.head_dim, y + t * p.head_dim);
    }
  }
  for (int64_t t = 0; t < own; ++t) keep(p, first + t, heads, ring.at(lag.first + t));
}

}  // namespace step

// `scratch` holds ssd_replay_scratch_bytes(p).
inline void ssd_replay(const SsdReplayParams& p, int64_t row, Range heads, void* scratch) {
  with_float_type(p.dtype, [&](auto t) { step::replay<decltype(t)>(p, row, heads, static_cast<float*>(scratch)); });
}

}  // namespace mamba::cpu::MAMBA_ISA
