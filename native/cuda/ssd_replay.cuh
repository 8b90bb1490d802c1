#pragma once
// Rows of several tokens through the recurrence of ops/ssd.h, of which later ones may be taken back (ops/replay.h).
//
// Idea. The state update's tile stays in registers for all tokens: first those that the state in memory lacks, from the
// history, then the row's own. Between the two it is written, where it settles; after the last it is forgotten. So a
// state is read once for all tokens, and written once for those that several steps accepted.
//
// Mapping. A block has channels of one head, each warp a tile of them. While the state is on its way the block lays out
// all tokens' inputs as floats in shared memory, each warp those of every `Warps`-th token, so that what is left for an
// element and a token is arithmetic. Inputs of a row's tokens go into the history once: x by the block that has the
// channels, the time step by a head's first, B by a group's first.
//
// Bound. Neither bytes alone (a state read, and written by each few steps) nor instructions (3 float ones for an
// element and token, 2 for one of the history). What measured how: ssd_replay.cu.
#include "cuda/history.cuh"
#include "cuda/ssd_state_update.cuh"

namespace mamba::cuda::state_update {

// Entries of a history whose tokens fit the tiles: a lane has one token's time step.
inline constexpr int kMostEntries = 32;

// Floats in shared memory: of tokens that the state lacks and then of the row's own b [entries, n] and x [entries,
// channels], of the row's own c and z, and a step and a decay for each. n and channels are multiples of four.
struct ReplayInputs {
  float *steps, *decays, *b, *x, *c, *z;

  static int64_t bytes(int64_t entries, int64_t tokens, int64_t n, int64_t channels) {
    return (2 * kMostEntries + (entries + tokens) * (n + channels)) * static_cast<int64_t>(sizeof(float));
  }
  __device__ ReplayInputs(float* at, int entries, int tokens, int n, int channels)
      : steps(at),
        decays(steps + kMostEntries),
        b(decays + kMostEntries),
        x(b + entries * n),
        c(x + entries * channels),
        z(c + tokens * n) {}
};

template <int V, class T>
__device__ __forceinline__ void put_floats(float* to, const Vec<T, V>& v) {
  float f[V];
  unpack(v, f);
  store<V>(to, pack<float, V>(f));
}

template <int V>
__device__ __forceinline__ void get_floats(float (&to)[V], const float* from) {
  unpack(load<V>(from), to);
}

template <class Part, class T, int Warps, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    replay_kernel(const __grid_constant__ SsdReplayParams p, int first_row, int heads_per_group, bool settled) {
  using S = typename Part::StateType;
  constexpr int kVec = Part::kVec, kChannels = Part::kRows * Warps;
  constexpr int kLaneWords = (Part::kPieces * Part::kLanes + 31) / 32, kLaneChannels = (kChannels + 31) / 32;
  extern __shared__ float4 shared[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, h = blockIdx.y, group = h / heads_per_group;
  const int n = static_cast<int>(p.state_size), tokens = static_cast<int>(p.tokens_per_row);
  // Channels of the head: the block's from block_first, the warp's from `first`, `at` among those of all heads.
  const int head_dim = static_cast<int>(p.head_dim), block_first = blockIdx.x * kChannels;
  const int first = block_first + warp * Part::kRows, at = h * head_dim + first;
  const int block_rows = min(kChannels, head_dim - block_first), rows = min(Part::kRows, head_dim - first);
  const int64_t row = first_row + blockIdx.z, inner = p.heads * p.head_dim;
  Part part;
  part.load_weights(p, h);
  let_next_start();
  if (!settled) wait_for_inputs();
  const int32_t slot = p.slots[row];
  const Lag lag = lag_of(p.replay[row], p.history.entries, tokens);
  const bool used = slot >= 0 && slot < p.slots_in_pool;
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + int64_t{at} * n;
  typename Part::State s;
  if (used && rows > 0) Part::template load_state<Keep::nothing>(s, state, n, rows, lane, 0);
  if (settled) wait_for_inputs();
  if (!used) {
    for (int t = 0; t < tokens; ++t) Part::write_zeros(p, row * tokens + t, at, rows, lane);
    return;
  }
  const int held = lag.first - lag.begin, count = held + tokens;
  ReplayInputs inputs(reinterpret_cast<float*>(shared), static_cast<int>(p.history.entries), tokens, n, kChannels);
  const auto entry = [&](int token) { return entry_of<T>(p.history, slot, lag.begin + token); };
  const auto own = [&](const void* from, int64_t stride, int token) {
    return static_cast<const T*>(from) + (row * tokens + token - held) * stride;
  };
  if (warp == 0 && lane < count) {
    T* kept = entry(lane) + inner + p.groups * n + h;
    const T dt = lane < held ? *kept : *(own(p.dt, p.dt_row_stride, lane) + h);
    const float step = time_step(p, as_float(dt) + part.bias);
    inputs.steps[lane] = step, inputs.decays[lane] = expf(step * part.a);
    if (lane >= held && block_first == 0) *kept = dt;
  }
  // One token's of a lane: words of B and C, and every 32nd of the block's channels.
  struct Words {
    Vec<T, kVec> b[kLaneWords], c[kLaneWords];
    T x[kLaneChannels], z[kLaneChannels];
  };
  const auto read = [&](Words& words, int token) {
    const bool is_held = token < held;
    const T* from_b = is_held ? entry(token) + inner + group * n : own(p.b, p.b_stride, token) + group * n;
    const T* from_x = is_held ? entry(token) : own(p.x, p.x_stride, token);
#pragma unroll
    for (int i = 0; i < kLaneWords; ++i) {
      const int column = (i * 32 + lane) * kVec;
      if (column >= n) continue;
      words.b[i] = load<kVec>(from_b + column);
      if (!is_held) words.c[i] = load<kVec>(own(p.c, p.c_stride, token) + group * n + column);
    }
#pragma unroll
    for (int i = 0; i < kLaneChannels; ++i) {
      const int channel = i * 32 + lane;
      if (channel >= block_rows) continue;
      words.x[i] = from_x[h * head_dim + block_first + channel];
      if (!is_held && p.z) words.z[i] = own(p.z, p.z_stride, token)[h * head_dim + block_first + channel];
    }
  };
  const auto place = [&](const Words& words, int token) {
    const bool is_held = token < held, keeps_b = block_first == 0 && h % heads_per_group == 0;
#pragma unroll
    for (int i = 0; i < kLaneWords; ++i) {
      const int column = (i * 32 + lane) * kVec;
      if (column >= n) continue;
      put_floats(inputs.b + token * n + column, words.b[i]);
      if (is_held) continue;
      put_floats(inputs.c + (token - held) * n + column, words.c[i]);
      if (keeps_b) store<kVec>(entry(token) + inner + group * n + column, words.b[i]);
    }
#pragma unroll
    for (int i = 0; i < kLaneChannels; ++i) {
      const int channel = i * 32 + lane;
      if (channel >= block_rows) continue;
      inputs.x[token * kChannels + channel] = as_float(words.x[i]);
      if (is_held) continue;
      if (p.z) inputs.z[(token - held) * kChannels + channel] = as_float(words.z[i]);
      entry(token)[h * head_dim + block_first + channel] = words.x[i];
    }
  };
  // Two tokens of a warp are on their way at once.
  for (int token = warp; token < count; token += 2 * Warps) {
    Words one, two;
    const bool more = token + Warps < count;
    read(one, token);
    if (more) read(two, token + Warps);
    place(one, token);
    if (more) place(two, token + Warps);
  }
  __syncthreads();
  if (rows <= 0) return;
  const int lane_first = warp * Part::kRows + Part::channel(lane);  // among the block's channels
  float xs[Part::kLaneRows];
  const auto take = [&](int token) {
    part.step = inputs.steps[token], part.decay = inputs.decays[token];
    get_floats(xs, inputs.x + token * kChannels + lane_first);
#pragma unroll
    for (int i = 0; i < Part::kPieces; ++i) {
      get_floats(part.bs[i], inputs.b + token * n + Part::column_inside(n, lane, i));
    }
  };
  for (int token = 0; token < held; ++token) {
    take(token);
    part.absorb(s, xs);
  }
  if (lag.settles == kSettlesHeld) Part::template store_state<Keep::nothing>(s, state, n, rows, lane, 0);
  for (int t = 0; t < tokens; ++t) {
    take(held + t);
#pragma unroll
    for (int i = 0; i < Part::kPieces; ++i) {
      get_floats(part.cs[i], inputs.c + t * n + Part::column_inside(n, lane, i));
      if (Part::column(lane, i) >= n) memset(part.cs[i], 0, sizeof(part.cs[i]));
    }
    const float y = part.advance(s, xs, lane);
    const float z = inputs.z[t * kChannels + warp * Part::kRows + Part::channel_inside(rows, Part::out_channel(lane))];
    Part::write_out(p, row * tokens + t, at, rows, lane, z, y);
  }
  if (lag.settles == kSettlesAll) Part::template store_state<Keep::nothing>(s, state, n, rows, lane, 0);
}

// --- any shape and strides: a warp owns one channel, its lanes stride along N ----------------------------------------

template <class T, class S>
__global__ void __launch_bounds__(kAnyWarps * 32) replay_any_kernel(const __grid_constant__ SsdReplayParams p) {
  constexpr int kMost = kMostReplayTokens;
  const int64_t row = blockIdx.y, channel = int64_t{blockIdx.x} * kAnyWarps + threadIdx.x / 32;
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
    float sum = warp_sum(sums[t]);
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
