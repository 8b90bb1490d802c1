#pragma once
// Rows of several tokens through the recurrence of ops/ssd.h, of which later ones may be taken back (ops/replay.h).
//
// Idea. The state update's tile stays in registers for all tokens: first those that the state in memory lacks, from the
// history, then the row's own. Between the two it is written, where it settles; after the last it is forgotten. So a
// state is read once for all tokens, and written once for those that several steps accepted.
//
// Mapping. A warp has one tile; the next token's inputs are in flight while one is computed. A token's time step and
// decay are one lane's work, of all tokens at once. Inputs of a row's tokens go into the history once: x by the warps
// that have the channels, the time step by a head's first, B by a group's first.
//
// Bound. Neither bytes alone (a state read, and written by each few steps) nor instructions (3 float ones for an
// element and token, 2 for one of the history): what a warp does for each token beside those, so a warp has much of a
// state. What measured how: ssd_replay.cu.
#include "cuda/history.cuh"
#include "cuda/ssd_state_update.cuh"

namespace mamba::cuda::state_update {

// Where one token's inputs of a warp are; the history has no c and no z.
template <class T>
struct TokenInputs {
  const T *x, *b, *c, *dt, *z;
};

template <class Part, class T, int Warps>
__global__ void __launch_bounds__(Warps * 32) replay_kernel(const __grid_constant__ SsdReplayParams p, int first_row,
                                                            int heads_per_group, bool whole_x, bool settled) {
  using S = typename Part::StateType;
  const int lane = threadIdx.x % 32, h = blockIdx.y, n = static_cast<int>(p.state_size), group = h / heads_per_group;
  const int head_dim = static_cast<int>(p.head_dim), tokens = static_cast<int>(p.tokens_per_row);
  const int first = (blockIdx.x * Warps + threadIdx.x / 32) * Part::kRows, at = h * head_dim + first;
  const int rows = min(Part::kRows, head_dim - first);
  const int64_t row = first_row + blockIdx.z, inner = p.heads * p.head_dim;
  Part part;
  part.load_weights(p, h);
  let_next_start();
  if (!settled) wait_for_inputs();
  const int32_t slot = p.slots[row];
  const Lag lag = lag_of(p.replay[row], p.history.entries, tokens);
  const bool used = slot >= 0 && slot < p.slots_in_pool && rows > 0;
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + int64_t{at} * n;
  typename Part::State s;
  if (used) Part::template load_state<Keep::nothing>(s, state, n, rows, lane, 0);
  if (settled) wait_for_inputs();
  if (!used) {
    for (int t = 0; t < tokens; ++t) Part::write_zeros(p, row * tokens + t, at, rows, lane);
    return;
  }
  const auto inputs_of = [&](int token) -> TokenInputs<T> {
    if (token < lag.first) {
      const T* entry = entry_of<T>(p.history, slot, token);
      const T* b = entry + inner + group * n;
      return {entry + at, b, b, entry + inner + p.groups * n + h, nullptr};
    }
    const int64_t i = row * tokens + token - lag.first;
    return {static_cast<const T*>(p.x) + i * p.x_stride + at, static_cast<const T*>(p.b) + i * p.b_stride + group * n,
            static_cast<const T*>(p.c) + i * p.c_stride + group * n,
            static_cast<const T*>(p.dt) + i * p.dt_row_stride + h,
            p.z ? static_cast<const T*>(p.z) + i * p.z_stride + at : nullptr};
  };
  typename Part::Channels next;
  const auto load_token = [&](int token) {
    const TokenInputs<T> from = inputs_of(token);
    next.x = Part::load_x(from.x, rows, lane, whole_x);
    if (from.z) next.z = from.z[Part::channel_inside(rows, Part::out_channel(lane))];
    part.load_group(from.b, from.c, n, lane);
  };
  const int end = lag.first + tokens;
  float steps = 0, decays = 0;  // of the token that the lane has
  if (lag.begin + lane < end) {
    steps = time_step(p, as_float(*inputs_of(lag.begin + lane).dt) + part.bias);
    decays = expf(steps * part.a);
  }
  load_token(lag.begin);
  for (int token = lag.begin; token < end; ++token) {
    if (token == lag.first && lag.settles == kSettlesHeld)
      Part::template store_state<Keep::nothing>(s, state, n, rows, lane, 0);
    const typename Part::Channels channels = next;
    part.prepare(__shfl_sync(~0u, steps, token - lag.begin), __shfl_sync(~0u, decays, token - lag.begin));
    if (token + 1 < end) load_token(token + 1);
    if (token < lag.first) {
      part.absorb(s, channels.x);
      continue;
    }
    const float y = part.advance(s, channels.x, lane);
    Part::write_out(p, row * tokens + token - lag.first, at, rows, lane, channels.z, y);
  }
  if (lag.settles == kSettlesAll) Part::template store_state<Keep::nothing>(s, state, n, rows, lane, 0);
  for (int t = 0; t < tokens; ++t) {
    const TokenInputs<T> from = inputs_of(lag.first + t);
    T* entry = entry_of<T>(p.history, slot, lag.first + t);
    if (lane < rows) entry[at + lane] = from.x[lane];
    if (first > 0) continue;
    if (lane == 0) entry[inner + p.groups * n + h] = *from.dt;
    if (h % heads_per_group == 0) {
      for (int i = lane; i < n; i += 32) entry[inner + group * n + i] = from.b[i];
    }
  }
}

// --- any shape and strides: a warp owns one channel, its lanes stride along N ----------------------------------------

template <class T, class S>
__global__ void __launch_bounds__(128) replay_any_kernel(const __grid_constant__ SsdReplayParams p) {
  constexpr int kMost = kMostReplayTokens;
  const int64_t row = blockIdx.y, channel = int64_t{blockIdx.x} * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32, tokens = static_cast<int>(p.tokens_per_row);
  let_next_start();
  wait_for_inputs();
  const int64_t inner = p.heads * p.head_dim;
  if (channel >= inner) return;
  const int32_t slot = p.slots[row];
  T* out = static_cast<T*>(p.out) + row * tokens * p.out_stride + channel;
  if (slot < 0 || slot >= p.slots_in_pool) {
    if (lane < tokens) out[lane * p.out_stride] = rounded<T>(0);
    return;
  }
  const int64_t head = channel / p.head_dim, heads_per_group = p.heads / p.groups, group = head / heads_per_group;
  const Lag lag = lag_of(p.replay[row], p.history.entries, tokens);
  const float a = __ldg(p.a + head), bias = p.dt_bias ? __ldg(p.dt_bias + head) : 0.0f;
  const T* x = static_cast<const T*>(p.x) + row * tokens * p.x_stride + channel;
  const T* b = static_cast<const T*>(p.b) + row * tokens * p.b_stride + group * p.state_size;
  const T* c = static_cast<const T*>(p.c) + row * tokens * p.c_stride + group * p.state_size;
  const T* dt = static_cast<const T*>(p.dt) + row * tokens * p.dt_row_stride + head;
  const auto next_state = [&](float from_dt, float from_x, float from_b, float state) {
    const float step = time_step(p, from_dt + bias);
    return as_float(rounded<S>(fmaf(from_x * step, from_b, expf(step * a) * state)));
  };
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + channel * p.state_size;
  float sums[kMost] = {};
  for (int64_t n = lane; n < p.state_size; n += 32) {
    float s = as_float(state[n]);
    for (int token = lag.begin; token < lag.first; ++token) {
      const T* entry = entry_of<T>(p.history, slot, token);
      s = next_state(as_float(entry[inner + p.groups * p.state_size + head]), as_float(entry[channel]),
                     as_float(entry[inner + group * p.state_size + n]), s);
    }
    if (lag.settles == kSettlesHeld) state[n] = rounded<S>(s);
#pragma unroll
    for (int t = 0; t < kMost; ++t) {
      if (t >= tokens) break;
      const float step = time_step(p, as_float(dt[t * p.dt_row_stride]) + bias);
      const float whole = fmaf(as_float(x[t * p.x_stride]) * step, as_float(b[t * p.b_stride + n]), expf(step * a) * s);
      sums[t] = fmaf(whole, as_float(c[t * p.c_stride + n]), sums[t]);
      s = as_float(rounded<S>(whole));
    }
    if (lag.settles == kSettlesAll) state[n] = rounded<S>(s);
  }
#pragma unroll
  for (int t = 0; t < kMost; ++t) {
    if (t >= tokens) break;
    float sum = sums[t];
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    T* entry = entry_of<T>(p.history, slot, lag.first + t);
    if (lane == 0) {
      if (p.d) sum = fmaf(__ldg(p.d + head), as_float(x[t * p.x_stride]), sum);
      if (p.z) sum *= silu(as_float(static_cast<const T*>(p.z)[(row * tokens + t) * p.z_stride + channel]));
      out[t * p.out_stride] = rounded<T>(sum);
      entry[channel] = x[t * p.x_stride];
    }
    if (channel % p.head_dim > 0) continue;
    if (lane == 0) entry[inner + p.groups * p.state_size + head] = dt[t * p.dt_row_stride];
    if (head % heads_per_group > 0) continue;
    for (int64_t n = lane; n < p.state_size; n += 32) {
      entry[inner + group * p.state_size + n] = b[t * p.b_stride + n];
    }
  }
}

}  // namespace mamba::cuda::state_update
