#pragma once
// causal_conv1d_replay: the update of conv1d.cuh for rows of several tokens, over windows that are rings.
#include "cuda/conv1d.cuh"

namespace mamba::cuda::conv {

// The tokens of a row in order, with the slot's window a ring: a thread's reads are in flight together, and what it
// stores is rounded before the next token meets it. One row along y and z, of kMost tokens at most.
template <class T, class S, int kThreads, int kMost>
__global__ void __launch_bounds__(kThreads)
    replay_kernel(const __grid_constant__ CausalConv1dReplayParams p, bool settled) {
  const int64_t c = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kChannels;
  const int64_t row = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const bool active = c < p.dim && row < p.rows;
  Filter filter;
  if (active) filter.load(p.weight, p.bias, p.dim, c);
  let_next_start();
  if (!settled || !active) wait_for_inputs();
  if (!active) return;
  const int tokens = static_cast<int>(p.tokens_per_row), entries = static_cast<int>(p.entries);
  const int32_t slot = p.slots[row];
  const bool used = slot >= 0 && slot < p.slots_in_pool;
  const int first = p.replay[row].first < 0 ? 0 : p.replay[row].first % entries;
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + c;
  const auto entry = [&](int j) {
    const int at = first + j;
    return state + int64_t{at < entries ? at : at - entries} * p.dim;
  };
  Vec<S, kChannels> old[kWidth - 1];
#pragma unroll
  for (int j = 0; j < kWidth - 1; ++j) old[j] = used ? cuda::load<kChannels>(entry(j)) : zeros<S, kChannels>();
  if (settled) wait_for_inputs();
  T* out = static_cast<T*>(p.out) + row * tokens * p.out_stride + c;
  if (!used) {
    for (int t = 0; t < tokens; ++t) store_word(out + t * p.out_stride, zeros<T, kChannels>());
    return;
  }
  Vec<T, kChannels> x[kMost];
#pragma unroll
  for (int t = 0; t < kMost; ++t) {
    if (t < tokens) x[t] = cuda::load<kChannels>(static_cast<const T*>(p.x) + (row * tokens + t) * p.x_stride + c);
  }
  float window[kWidth][kChannels], y[kChannels];
#pragma unroll
  for (int j = 0; j < kWidth - 1; ++j) unpack(old[j], window[j]);
#pragma unroll
  for (int t = 0; t < kMost; ++t) {
    if (t >= tokens) break;
    const Vec<S, kChannels> kept = converted<S>(x[t]);
    store_word(entry(t + kWidth - 1), kept);
    unpack(x[t], window[kWidth - 1]);
    filter.apply(window, p.silu, y);
    store_word(out + t * p.out_stride, pack<T, kChannels>(y));
#pragma unroll
    for (int j = 0; j < kWidth - 2; ++j) {
#pragma unroll
      for (int i = 0; i < kChannels; ++i) window[j][i] = window[j + 1][i];
    }
    unpack(kept, window[kWidth - 2]);
  }
}

// Any width, type and stride.
static __global__ void __launch_bounds__(kAnyThreads)
    replay_any_kernel(const __grid_constant__ CausalConv1dReplayParams p) {
  const int64_t c = int64_t{blockIdx.x} * kAnyThreads + threadIdx.x, row = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const bool active = c < p.dim && row < p.rows;
  Channel channel;
  if (active) channel.load(p, c);
  let_next_start();
  wait_for_inputs();
  if (!active) return;
  const int32_t slot = p.slots[row];
  const bool used = slot >= 0 && slot < p.slots_in_pool;
  const int64_t first = p.replay[row].first < 0 ? 0 : p.replay[row].first;
  for (int64_t t = 0; t < p.tokens_per_row; ++t) {
    const int64_t token = row * p.tokens_per_row + t, out = token * p.out_stride + c;
    if (!used) {
      store_any(p.out, p.x_dtype, out, 0);
      continue;
    }
    const auto entry = [&](int64_t j) { return slot * p.state_slot_stride + (first + t + j) % p.entries * p.dim + c; };
    for (int64_t j = 0; j < p.width - 1; ++j) {
      channel.push(load_any(p.state, p.state_dtype, entry(j)), p.width, false);
    }
    const float x = load_any(p.x, p.x_dtype, token * p.x_stride + c);
    store_any(p.state, p.state_dtype, entry(p.width - 1), x);
    store_any(p.out, p.x_dtype, out, channel.push(x, p.width, p.silu));
  }
}

}  // namespace mamba::cuda::conv
