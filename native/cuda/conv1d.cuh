#pragma once
// Depthwise causal convolution along time: y[t] = silu(bias + sum_j taps[j] x[t - (width - 1) + j]).
//
// Idea. A few multiply-adds for each channel, and nothing is ever summed across channels: a thread owns 4 channels, keeps
// their taps and their window in registers and moves whole words. What costs is what a block reads besides its tokens
// (taps, the window, where its tokens are), so a block walks over many tokens with the same channels.
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

  // A slot below zero: a token that is not read.
  __device__ __forceinline__ void load(int r, const T* from, const S* state, int64_t dim, int32_t slot,
                                       bool has_window) {
    if (slot < 0) return;
    x[r] = cuda::load<kChannels>(from);
#pragma unroll
    for (int j = 0; j < kWidth - 1; ++j) {
      old[r][j] = has_window ? cuda::load<kChannels>(state + j * dim) : zeros<S, kChannels>();
    }
  }

  __device__ __forceinline__ void finish(int r, const Filter& filter, bool with_silu, T* out, S* state, int64_t dim,
                                         int32_t slot) const {
    if (slot < 0) return store<kChannels>(out, zeros<T, kChannels>());
#pragma unroll
    for (int j = 0; j < kWidth - 2; ++j) store<kChannels>(state + j * dim, old[r][j + 1]);
    store<kChannels>(state + (kWidth - 2) * dim, converted<S>(x[r]));
    float window[kWidth][kChannels], y[kChannels];
#pragma unroll
    for (int j = 0; j < kWidth - 1; ++j) unpack(old[r][j], window[j]);
    unpack(x[r], window[kWidth - 1]);
    filter.apply(window, with_silu, y);
    store<kChannels>(out, pack<T, kChannels>(y));
  }
};

// One token per row: a block takes kBatches batches of R rows; all reads of a batch are in flight together, and the next
// batch's before this one is computed. All slots of the block are read at once, since windows wait for them.
template <class T, class S, int R, int kBatches, int kThreads>
__global__ void __launch_bounds__(kThreads) update_kernel(const __grid_constant__ CausalConv1dUpdateParams p) {
  const int64_t c = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kChannels;
  const int64_t first = (int64_t{blockIdx.z} * gridDim.y + blockIdx.y) * (R * kBatches);
  const bool active = c < p.dim && first < p.rows;
  Filter filter;
  if (active) filter.load(p.weight, p.bias, p.dim, c);
  let_next_start();
  wait_for_inputs();
  if (!active) return;
  const int rows = static_cast<int>(p.rows - first < R * kBatches ? p.rows - first : R * kBatches);
  int32_t slots[R * kBatches];
#pragma unroll
  for (int r = 0; r < R * kBatches; ++r) slots[r] = r < rows ? p.slots[first + r] : -1;
#pragma unroll
  for (int r = 0; r < R * kBatches; ++r) {
    if (slots[r] >= p.slots_in_pool) slots[r] = -1;
  }
  const T* x = static_cast<const T*>(p.x) + first * p.x_stride + c;
  T* out = static_cast<T*>(p.out) + first * p.out_stride + c;
  const auto state = [&](int32_t slot) { return static_cast<S*>(p.state) + slot * p.state_slot_stride + c; };
  Step<T, S, R> steps[kBatches > 1 ? 2 : 1];
  const auto load = [&](int batch) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int row = batch * R + r;
      steps[batch % 2].load(r, x + row * p.x_stride, state(slots[row]), p.dim, slots[row], true);
    }
  };
  load(0);
#pragma unroll
  for (int batch = 0; batch < kBatches; ++batch) {
    if (batch + 1 < kBatches) load(batch + 1);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int row = batch * R + r;
      if (row < rows) {
        steps[batch % 2].finish(r, filter, p.silu, out + row * p.out_stride, state(slots[row]), p.dim, slots[row]);
      }
    }
  }
}

// How the tokens of a batch are divided among chunks (blockIdx.y): evenly by cost, where a sequence costs its tokens and
// kSequenceCost more for its window. A cut lies a multiple of kGrain tokens into a sequence, so that the first
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

// Walks over the part's tokens B at a time, the next B already in flight.
template <class T, class S, int B>
__device__ __forceinline__ void walk(const CausalConv1dVarlenParams& p, const Filter& filter, const Part& part,
                                     int64_t c) {
  constexpr int kBefore = kWidth - 1;
  const int count = part.end - part.begin;
  T* out = static_cast<T*>(p.out) + (part.first + part.begin) * p.out_stride + c;
  if (part.slot < 0) {
    for (int t = 0; t < count; ++t, out += p.out_stride) store<kChannels>(out, zeros<T, kChannels>());
    return;
  }
  const T* x = static_cast<const T*>(p.x) + (part.first + part.begin) * p.x_stride + c;
  S* state = static_cast<S*>(p.state) + part.slot * p.state_slot_stride + c;
  Vec<T, kChannels> next[B];
#pragma unroll
  for (int i = 0; i < B; ++i) {
    if (i < count) next[i] = load<kChannels>(x + i * p.x_stride);
  }
  float f[kWidth][kChannels];  // the window, then the input that comes next
#pragma unroll
  for (int j = 0; j < kBefore; ++j) {
    if (part.begin > 0) {
      unpack(load<kChannels>(x + (j - kBefore) * p.x_stride), f[j]);
    } else {
      unpack(part.has_window ? load<kChannels>(state + j * p.dim) : zeros<S, kChannels>(), f[j]);
    }
  }
  const auto push = [&](const Vec<T, kChannels>& input) {
    float y[kChannels];
    unpack(input, f[kBefore]);
    filter.apply(f, p.silu, y);
    store<kChannels>(out, pack<T, kChannels>(y));
    out += p.out_stride;
#pragma unroll
    for (int j = 0; j < kBefore; ++j) {
#pragma unroll
      for (int i = 0; i < kChannels; ++i) f[j][i] = f[j + 1][i];
    }
  };
  const T* ahead = x + B * p.x_stride;
  int left = count;
  for (; left >= B; left -= B) {
    Vec<T, kChannels> now[B];
#pragma unroll
    for (int i = 0; i < B; ++i) {
      now[i] = next[i];
      if (B + i < left) next[i] = load<kChannels>(ahead);
      ahead += p.x_stride;
    }
#pragma unroll
    for (int i = 0; i < B; ++i) push(now[i]);
  }
#pragma unroll
  for (int i = 0; i < B - 1; ++i) {
    if (i < left) push(next[i]);
  }
  // Who read the slot's window also writes it. The sequence's last inputs may be in another part.
  if (part.begin > 0) return;
#pragma unroll
  for (int j = 0; j < kBefore; ++j) {
    store<kChannels>(state + j * p.dim,
                     count == part.length
                         ? pack<S, kChannels>(f[j])
                         : converted<S>(load<kChannels>(x + (part.length - kBefore + j) * p.x_stride)));
  }
}

// Packed sequences: a block takes kThreads * 4 channels of one chunk. A warp holds where the next 32 sequences are, one a
// lane; runs of sequences of one token are done R at a time, as in the update.
template <class T, class S, int B, int R, int kThreads, int kBlocks>
__global__ void __launch_bounds__(kThreads, kBlocks)
    varlen_kernel(const __grid_constant__ CausalConv1dVarlenParams p, int64_t chunk) {
  const int64_t c = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kChannels;
  const bool active = c < p.dim;
  const int lane = threadIdx.x % 32, sequences = static_cast<int>(p.sequences);
  Filter filter;
  if (active) filter.load(p.weight, p.bias, p.dim, c);
  let_next_start();
  wait_for_inputs();
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
          step.load(r, static_cast<const T*>(p.x) + tokens[r] * p.x_stride + c,
                    static_cast<S*>(p.state) + slots[r] * p.state_slot_stride + c, p.dim, slots[r], has_window);
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
    if (active && part.begin < part.end) walk<T, S, B>(p, filter, part, c);
    at = {at.sequence + 1, 0};
  }
}

// --- any type, width 2 to 4, any alignment: a thread owns one channel ------------------------------------------------

__device__ __forceinline__ float load_any(const void* from, int64_t i, DType type) {
  if (type == DType::f32) return static_cast<const float*>(from)[i];
  if (type == DType::bf16) return as_float(static_cast<const bf16*>(from)[i]);
  return as_float(static_cast<const f16*>(from)[i]);
}

__device__ __forceinline__ void store_any(void* to, int64_t i, DType type, float value) {
  if (type == DType::f32) {
    static_cast<float*>(to)[i] = value;
  } else if (type == DType::bf16) {
    static_cast<bf16*>(to)[i] = rounded<bf16>(value);
  } else {
    static_cast<f16*>(to)[i] = rounded<f16>(value);
  }
}

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
      if (row >= 0) window[j] = load_any(p.state, state + row * p.dim, p.state_dtype);
    }
  }

  template <class Params>
  __device__ __forceinline__ void store_window(const Params& p, int64_t state) const {
#pragma unroll
    for (int j = 1; j < kWidth; ++j) {
      const int64_t row = j - 1 - (kWidth - p.width);
      if (row >= 0) store_any(p.state, state + row * p.dim, p.state_dtype, window[j]);
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

static __global__ void __launch_bounds__(128) update_any_kernel(const __grid_constant__ CausalConv1dUpdateParams p) {
  const int64_t c = int64_t{blockIdx.x} * 128 + threadIdx.x, row = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const bool active = c < p.dim && row < p.rows;
  Channel channel;
  if (active) channel.load(p, c);
  let_next_start();
  wait_for_inputs();
  if (!active) return;
  const int32_t slot = p.slots[row];
  if (slot < 0 || slot >= p.slots_in_pool) return store_any(p.out, row * p.out_stride + c, p.x_dtype, 0);
  const int64_t state = slot * p.state_slot_stride + c;
  const float x = load_any(p.x, row * p.x_stride + c, p.x_dtype);
  channel.load_window(p, state);
  const float y = channel.push(x, p.width, p.silu);
  channel.store_window(p, state);
  store_any(p.out, row * p.out_stride + c, p.x_dtype, y);
}

// A block of tokens, as cut by the host.
static __global__ void __launch_bounds__(128) varlen_any_kernel(const __grid_constant__ CausalConv1dVarlenParams p) {
  const int64_t c = int64_t{blockIdx.x} * 128 + threadIdx.x, block = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
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
    for (int64_t t = begin; t < end; ++t) store_any(p.out, (first + t) * p.out_stride + c, p.x_dtype, 0);
    return;
  }
  const int64_t state = slot * p.state_slot_stride + c;
  const auto input = [&](int64_t t) { return load_any(p.x, (first + t) * p.x_stride + c, p.x_dtype); };
  if (begin == 0) {
    if (p.has_initial_state[sequence]) channel.load_window(p, state);
  } else {
    for (int64_t t = begin - (p.width - 1); t < begin; ++t) channel.push(input(t), p.width, false);
  }
#pragma unroll 4
  for (int64_t t = begin; t < end; ++t) {
    store_any(p.out, (first + t) * p.out_stride + c, p.x_dtype, channel.push(input(t), p.width, p.silu));
  }
  if (begin > 0) return;
  // Inputs after this block enter the window too. A block is at least as long as the window, so they suffice.
  for (int64_t t = end < length - (p.width - 1) ? length - (p.width - 1) : end; t < length; ++t) {
    channel.push(input(t), p.width, false);
  }
  channel.store_window(p, state);
}

}  // namespace mamba::cuda::conv
