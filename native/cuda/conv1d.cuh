#pragma once
// Depthwise causal convolution along time: y[t] = silu(bias + sum_j taps[j] x[t - (width - 1) + j]).
//
// Idea. A few multiply-adds for each channel, and nothing is ever summed across channels: a thread owns 4 channels,
// keeps their taps and their window in registers and moves whole words. What costs is what a block reads besides its
// tokens (taps, the window, where its tokens are), so a block walks over many tokens with the same channels.
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/conv1d.h"

namespace mamba::cuda::conv {

inline constexpr int kWidth = 4;     // of the tuned kernels, as in all published models
inline constexpr int kChannels = 4;  // of a thread

using Floats = float[kChannels];

// Taps and bias of a thread's channels. They are weights: read before wait_for_inputs().
struct Filter {
  float taps[kWidth][kChannels], bias[kChannels];

  __device__ __forceinline__ void load(const float* weight, const float* from_bias, int64_t dim, int64_t c) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) unpack(load_constant<kChannels>(weight + j * dim + c), taps[j]);
    unpack(from_bias ? load_constant<kChannels>(from_bias + c) : zeros<float, kChannels>(), bias);
  }

  // Over kWidth inputs, the oldest first.
  __device__ __forceinline__ void apply(const Floats* window, bool with_silu, Floats& y) const {
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      y[i] = bias[i];
#pragma unroll
      for (int j = 0; j < kWidth; ++j) y[i] = fmaf(window[j][i], taps[j][i], y[i]);
    }
    if (with_silu) {
#pragma unroll
      for (int i = 0; i < kChannels; ++i) y[i] = silu(y[i]);
    }
  }
};

// As one word: the compiler would rather split it than move a register.
template <int V, class T>
__device__ __forceinline__ void store_word(T* to, const Vec<T, V>& v) {
  if constexpr (sizeof(v) == 8) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(v.pairs[0]), "r"(v.pairs[1]) : "memory");
  } else {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.pairs[0]), "r"(v.pairs[1]),
                 "r"(v.pairs[2]), "r"(v.pairs[3])
                 : "memory");
  }
}

template <class To, class From>
__device__ __forceinline__ Vec<To, kChannels> converted(const Vec<From, kChannels>& v) {
  if constexpr (std::is_same_v<To, From>) {
    return v;
  } else {
    Floats f;
    unpack(v, f);
    return pack<To, kChannels>(f);
  }
}

// R tokens, each the next one of a sequence of its own: the read and the write of a step.
template <class T, class S, int R>
struct Step {
  Vec<T, kChannels> x[R];
  Vec<S, kChannels> old[R][kWidth - 1];

  __device__ __forceinline__ void load_x(int r, const T* from) { x[r] = cuda::load<kChannels>(from); }

  __device__ __forceinline__ void load_window(int r, const S* state, int64_t dim, bool has_window) {
#pragma unroll
    for (int j = 0; j < kWidth - 1; ++j) {
      old[r][j] = has_window ? cuda::load<kChannels>(state + j * dim) : zeros<S, kChannels>();
    }
  }

  __device__ __forceinline__ void finish(int r, const Filter& filter, bool with_silu, T* out, S* state, int64_t dim,
                                         int32_t slot) const {
    if (slot < 0) return store_word(out, zeros<T, kChannels>());
#pragma unroll
    for (int j = 0; j < kWidth - 2; ++j) store_word(state + j * dim, old[r][j + 1]);
    store_word(state + (kWidth - 2) * dim, converted<S>(x[r]));
    float window[kWidth][kChannels], y[kChannels];
#pragma unroll
    for (int j = 0; j < kWidth - 1; ++j) unpack(old[r][j], window[j]);
    unpack(x[r], window[kWidth - 1]);
    filter.apply(window, with_silu, y);
    store_word(out, pack<T, kChannels>(y));
  }
};

// One token per row: a block takes R rows, all of whose reads are in flight together. Windows wait for the slots, and
// are read while the kernel ahead still runs if they are settled (Context::settled).
template <class T, class S, int R, int kThreads>
__global__ void __launch_bounds__(kThreads)
    update_kernel(const __grid_constant__ CausalConv1dUpdateParams p, bool settled) {
  const int64_t c = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kChannels;
  const int64_t first = (int64_t{blockIdx.z} * gridDim.y + blockIdx.y) * R;
  const bool active = c < p.dim && first < p.rows;
  Filter filter;
  if (active) filter.load(p.weight, p.bias, p.dim, c);
  let_next_start();
  if (!settled || !active) wait_for_inputs();
  if (!active) return;
  const int rows = static_cast<int>(p.rows - first < R ? p.rows - first : R);
  // Rows beyond the last read what it does, and write nothing.
  const auto row_of = [&](int r) { return first + (r < rows ? r : rows - 1); };
  int32_t slots[R];
#pragma unroll
  for (int r = 0; r < R; ++r) slots[r] = p.slots[row_of(r)];
  Step<T, S, R> step;
  const auto state = [&](int32_t slot) { return static_cast<S*>(p.state) + slot * p.state_slot_stride + c; };
#pragma unroll
  for (int r = 0; r < R; ++r) {
    if (slots[r] >= p.slots_in_pool) slots[r] = -1;
    if (slots[r] >= 0) step.load_window(r, state(slots[r]), p.dim, true);
  }
  if (settled) wait_for_inputs();
#pragma unroll
  for (int r = 0; r < R; ++r) step.load_x(r, static_cast<const T*>(p.x) + row_of(r) * p.x_stride + c);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    if (r >= rows) continue;
    T* out = static_cast<T*>(p.out) + (first + r) * p.out_stride + c;
    step.finish(r, filter, p.silu, out, state(slots[r]), p.dim, slots[r]);
  }
}

// How the tokens of a batch are divided among chunks (blockIdx.y): evenly by cost, where a sequence costs its tokens
// and kSequenceCost more for its window. A cut lies a multiple of kGrain tokens into a sequence, so that the first
// kWidth - 1 tokens stay with the window and only one chunk touches it.
inline constexpr int kSequenceCost = 4, kGrain = 8;

// The next token of a chunk: `token` counts from the start of its sequence.
struct Place {
  int sequence, token;
};

// The place at a cost, found by the whole warp: 32 ways at a time.
__device__ __forceinline__ Place place_at(const CausalConv1dVarlenParams& p, int64_t cost, int lane) {
  const auto start = [&](int64_t s) { return p.query_start_loc[s] + s * kSequenceCost; };
  int low = 0;
  for (int count = static_cast<int>(p.sequences); count > 1;) {
    const int step = (count + 31) / 32, at = lane * step;
    const unsigned before = __ballot_sync(~0u, at < count && start(low + at) <= cost);
    const int skip = (before ? 31 - __clz(before) : 0) * step;
    low += skip;
    count = count - skip < step ? count - skip : step;
  }
  const int64_t token = cost - start(low) - kSequenceCost;
  const int length = p.query_start_loc[low + 1] - p.query_start_loc[low];
  if (token >= length) return {low + 1, 0};
  return {low, token < 0 ? 0 : static_cast<int>(token / kGrain * kGrain)};
}

// The part of one sequence that a chunk works on.
struct Part {
  int32_t slot;
  bool has_window;  // an initial state
  int64_t first;    // token of the batch where the sequence starts
  int begin, end, length;
};

// A thread's channels in a part, as they move on from token to token.
template <class T, class S>
struct Walk {
  static constexpr int kBefore = kWidth - 1;
  const CausalConv1dVarlenParams& p;
  const Filter& filter;
  const T* x;  // the part's first token
  T* out;
  S* state;
  float f[kWidth][kChannels];  // the window, then the input that comes next

  __device__ __forceinline__ Walk(const CausalConv1dVarlenParams& params, const Filter& its_filter, const Part& part,
                                  int64_t c)
      : p(params), filter(its_filter) {
    x = static_cast<const T*>(p.x) + (part.first + part.begin) * p.x_stride + c;
    out = static_cast<T*>(p.out) + (part.first + part.begin) * p.out_stride + c;
    state = static_cast<S*>(p.state) + part.slot * p.state_slot_stride + c;
  }

  __device__ __forceinline__ void load_window(const Part& part) {
#pragma unroll
    for (int j = 0; j < kBefore; ++j) {
      if (part.begin > 0) {
        unpack(load<kChannels>(x + (j - kBefore) * p.x_stride), f[j]);
      } else {
        unpack(part.has_window ? load<kChannels>(state + j * p.dim) : zeros<S, kChannels>(), f[j]);
      }
    }
  }

  __device__ __forceinline__ void push(const Vec<T, kChannels>& input) {
    float y[kChannels];
    unpack(input, f[kBefore]);
    filter.apply(f, p.silu, y);
    store_word(out, pack<T, kChannels>(y));
    out += p.out_stride;
#pragma unroll
    for (int j = 0; j < kBefore; ++j) {
#pragma unroll
      for (int i = 0; i < kChannels; ++i) f[j][i] = f[j + 1][i];
    }
  }

  __device__ __forceinline__ void write_zeros(int count) {
    for (int t = 0; t < count; ++t, out += p.out_stride) store_word(out, zeros<T, kChannels>());
  }

  // Who read the slot's window also writes it. The sequence's last inputs may be in another part.
  __device__ __forceinline__ void store_window(const Part& part) const {
    if (part.begin > 0) return;
#pragma unroll
    for (int j = 0; j < kBefore; ++j) {
      store_word(state + j * p.dim, part.end == part.length
                                        ? pack<S, kChannels>(f[j])
                                        : converted<S>(load<kChannels>(x + (part.length - kBefore + j) * p.x_stride)));
    }
  }
};

// Calls f(part) for the parts of sequences that blockIdx.y's chunk holds, in all threads of the block. A warp holds
// where the next 32 sequences are, one a lane; runs of sequences of one token are done here, R at a time, as in the
// update.
template <class T, class S, int R, class F>
__device__ __forceinline__ void for_parts(const CausalConv1dVarlenParams& p, int64_t chunk, const Filter& filter,
                                          int64_t c, bool active, F f) {
  const int lane = threadIdx.x % 32, sequences = static_cast<int>(p.sequences);
  Place at = place_at(p, blockIdx.y * chunk, lane);
  Place end = {sequences, 0};
  if (blockIdx.y + 1 < gridDim.y) end = place_at(p, (blockIdx.y + 1) * chunk, lane);

  int held = -1;  // the sequence that lane 0 holds
  int32_t first = 0, length = 0, slot = -1, initial = 0;
  while (at.sequence < end.sequence || (at.sequence == end.sequence && at.token < end.token)) {
    if (held < 0 || at.sequence >= held + 32) {
      held = at.sequence;
      const int s = held + lane;
      first = length = initial = 0, slot = -1;
      if (s < sequences) {
        first = p.query_start_loc[s], length = p.query_start_loc[s + 1] - first, slot = p.slots[s];
        initial = p.has_initial_state[s];
        if (slot >= p.slots_in_pool) slot = -1;
      }
    }
    const int from = at.sequence - held;
    // How many sequences from here on, of those held, are whole and of one token.
    const unsigned others = __ballot_sync(~0u, !(length == 1 && held + lane < end.sequence)) >> from;
    const int singles = at.token > 0 ? 0 : others ? __ffs(others) - 1 : 32 - from;
    if (singles > 0) {
      for (int i = 0; i < singles; i += R) {
        Step<T, S, R> step;
        int32_t slots[R], tokens[R];
#pragma unroll
        for (int r = 0; r < R; ++r) {
          const int holder = from + i + r < 31 ? from + i + r : 31;
          slots[r] = __shfl_sync(~0u, slot, holder), tokens[r] = __shfl_sync(~0u, first, holder);
          const bool has_window = __shfl_sync(~0u, initial, holder);
          if (!active || i + r >= singles) slots[r] = -1, tokens[r] = -1;
          if (slots[r] < 0) continue;
          step.load_x(r, static_cast<const T*>(p.x) + tokens[r] * p.x_stride + c);
          step.load_window(r, static_cast<S*>(p.state) + slots[r] * p.state_slot_stride + c, p.dim, has_window);
        }
#pragma unroll
        for (int r = 0; r < R; ++r) {
          if (tokens[r] < 0) continue;
          step.finish(r, filter, p.silu, static_cast<T*>(p.out) + tokens[r] * p.out_stride + c,
                      static_cast<S*>(p.state) + slots[r] * p.state_slot_stride + c, p.dim, slots[r]);
        }
      }
      at = {at.sequence + singles, 0};
      continue;
    }
    Part part;
    part.slot = __shfl_sync(~0u, slot, from), part.has_window = __shfl_sync(~0u, initial, from);
    part.first = __shfl_sync(~0u, first, from), part.length = __shfl_sync(~0u, length, from);
    part.begin = at.token, part.end = at.sequence == end.sequence ? end.token : part.length;
    if (part.begin < part.end) f(part);
    at = {at.sequence + 1, 0};
  }
}

// Packed sequences: a block takes kThreads * 4 channels of one chunk, B tokens at a time, the next B already in flight.
template <class T, class S, int B, int R, int kThreads, int kBlocks>
__global__ void __launch_bounds__(kThreads, kBlocks)
    varlen_kernel(const __grid_constant__ CausalConv1dVarlenParams p, int64_t chunk) {
  const int64_t c = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kChannels;
  const bool active = c < p.dim;
  Filter filter;
  if (active) filter.load(p.weight, p.bias, p.dim, c);
  let_next_start();
  wait_for_inputs();
  for_parts<T, S, R>(p, chunk, filter, c, active, [&](const Part& part) {
    if (!active) return;
    Walk<T, S> walk(p, filter, part, c);
    int left = part.end - part.begin;
    if (part.slot < 0) return walk.write_zeros(left);
    Vec<T, kChannels> next[B];
    const T* ahead = walk.x;
#pragma unroll
    for (int i = 0; i < B; ++i, ahead += p.x_stride) {
      if (i < left) next[i] = load<kChannels>(ahead);
    }
    walk.load_window(part);
    for (; left >= B; left -= B) {
      Vec<T, kChannels> now[B];
#pragma unroll
      for (int i = 0; i < B; ++i, ahead += p.x_stride) {
        now[i] = next[i];
        if (B + i < left) next[i] = load<kChannels>(ahead);
      }
#pragma unroll
      for (int i = 0; i < B; ++i) walk.push(now[i]);
    }
#pragma unroll
    for (int i = 0; i < B - 1; ++i) {
      if (i < left) walk.push(next[i]);
    }
    walk.store_window(part);
  });
}

// --- any type, width 2 to 4, any alignment: a thread owns one channel ------------------------------------------------

inline constexpr int kAnyThreads = 128;

// A narrower filter is one of width 4 whose oldest taps and inputs are zero.
struct Channel {
  float taps[kWidth], bias, window[kWidth];

  template <class Params>
  __device__ __forceinline__ void load(const Params& p, int64_t c) {
    bias = p.bias ? __ldg(p.bias + c) : 0.0f;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int64_t tap = j - (kWidth - p.width);
      taps[j] = tap < 0 ? 0.0f : __ldg(p.weight + tap * p.dim + c), window[j] = 0;
    }
  }

  // The slot's window; the newest input is still to come.
  template <class Params>
  __device__ __forceinline__ void load_window(const Params& p, int64_t state) {
#pragma unroll
    for (int j = 1; j < kWidth; ++j) {
      const int64_t row = j - 1 - (kWidth - p.width);
      if (row >= 0) window[j] = load_any(p.state, p.state_dtype, state + row * p.dim);
    }
  }

  template <class Params>
  __device__ __forceinline__ void store_window(const Params& p, int64_t state) const {
#pragma unroll
    for (int j = 1; j < kWidth; ++j) {
      const int64_t row = j - 1 - (kWidth - p.width);
      if (row >= 0) store_any(p.state, p.state_dtype, state + row * p.dim, window[j]);
    }
  }

  // The oldest input leaves. Inputs beyond the filter's width meet no tap, but must stay zero: they may not be finite.
  __device__ __forceinline__ float push(float input, int64_t width, bool with_silu) {
#pragma unroll
    for (int j = 0; j < kWidth - 1; ++j) window[j] = j < kWidth - width ? 0.0f : window[j + 1];
    window[kWidth - 1] = input;
    float y = bias;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) y = fmaf(window[j], taps[j], y);
    return with_silu ? silu(y) : y;
  }
};

static __global__ void __launch_bounds__(kAnyThreads)
    update_any_kernel(const __grid_constant__ CausalConv1dUpdateParams p) {
  const int64_t c = int64_t{blockIdx.x} * kAnyThreads + threadIdx.x, row = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const bool active = c < p.dim && row < p.rows;
  Channel channel;
  if (active) channel.load(p, c);
  let_next_start();
  wait_for_inputs();
  if (!active) return;
  const int32_t slot = p.slots[row];
  if (slot < 0 || slot >= p.slots_in_pool) return store_any(p.out, p.x_dtype, row * p.out_stride + c, 0);
  const int64_t state = slot * p.state_slot_stride + c;
  const float x = load_any(p.x, p.x_dtype, row * p.x_stride + c);
  channel.load_window(p, state);
  const float y = channel.push(x, p.width, p.silu);
  channel.store_window(p, state);
  store_any(p.out, p.x_dtype, row * p.out_stride + c, y);
}

// A window that a snapshot asks for: inputs as they are, so that a sequence that goes on from one sees the same.
static __global__ void __launch_bounds__(kAnyThreads)
    keep_windows_kernel(const __grid_constant__ CausalConv1dVarlenParams p) {
  const int64_t c = int64_t{blockIdx.x} * kAnyThreads + threadIdx.x, i = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const int64_t window = p.width - 1;
  let_next_start();
  wait_for_inputs();
  if (i >= p.snapshots) return;
  const int64_t slot = p.snapshot_slots[i], first = p.snapshot_ends[i] - window;
  if (c >= p.dim || slot < 0 || slot >= p.slots_in_pool || first < 0 || first + window > p.tokens) return;
  for (int64_t j = 0; j < window; ++j) {
    store_any(p.state, p.state_dtype, slot * p.state_slot_stride + j * p.dim + c,
              load_any(p.x, p.x_dtype, (first + j) * p.x_stride + c));
  }
}

// A block of tokens, as cut by the host.
static __global__ void __launch_bounds__(kAnyThreads)
    varlen_any_kernel(const __grid_constant__ CausalConv1dVarlenParams p) {
  const int64_t c = int64_t{blockIdx.x} * kAnyThreads + threadIdx.x,
                block = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const bool active = c < p.dim && block < p.blocks;
  Channel channel;
  if (active) channel.load(p, c);
  let_next_start();
  wait_for_inputs();
  if (!active) return;
  const int32_t sequence = p.block_seq[block], slot = p.slots[sequence];
  const int64_t first = p.query_start_loc[sequence], length = p.query_start_loc[sequence + 1] - first;
  const int64_t begin = p.block_offset[block] * p.block_size, last = begin + p.block_size;
  const int64_t end = last < length ? last : length;
  if (slot < 0 || slot >= p.slots_in_pool) {
    for (int64_t t = begin; t < end; ++t) store_any(p.out, p.x_dtype, (first + t) * p.out_stride + c, 0);
    return;
  }
  const int64_t state = slot * p.state_slot_stride + c;
  const auto input = [&](int64_t t) { return load_any(p.x, p.x_dtype, (first + t) * p.x_stride + c); };
  if (begin == 0) {
    if (p.has_initial_state[sequence]) channel.load_window(p, state);
  } else {
    for (int64_t t = begin - (p.width - 1); t < begin; ++t) channel.push(input(t), p.width, false);
  }
#pragma unroll 4
  for (int64_t t = begin; t < end; ++t) {
    store_any(p.out, p.x_dtype, (first + t) * p.out_stride + c, channel.push(input(t), p.width, p.silu));
  }
  if (begin > 0) return;
  // Inputs after this block enter the window too. A block is at least as long as the window, so they suffice.
  for (int64_t t = end < length - (p.width - 1) ? length - (p.width - 1) : end; t < length; ++t) {
    channel.push(input(t), p.width, false);
  }
  channel.store_window(p, state);
}

}  // namespace mamba::cuda::conv
