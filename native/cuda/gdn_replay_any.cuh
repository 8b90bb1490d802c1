#pragma once
// gdn_replay for any types, sizes and strides, over the recurrence of gdn_recurrence.cuh: the tokens that the state
// lacks come from the history, then the row's own follow.
#include "cuda/gdn_recurrence.cuh"
#include "cuda/history.cuh"

namespace mamba::cuda::gdn {

static __global__ __launch_bounds__(kThreads) void replay_any_kernel(const __grid_constant__ GdnReplayParams p,
                                                                     int tile) {
  extern __shared__ float shared[];
  const int key_dim = static_cast<int>(p.key_dim), tokens = static_cast<int>(p.tokens_per_row);
  const Shared of_block = {shared, shared + key_dim, shared + 2 * key_dim};
  wait_for_inputs();
  let_next_start();
  const int64_t tiles = (p.value_dim + tile - 1) / tile, row = blockIdx.x / tiles / p.value_heads;
  const int64_t first = blockIdx.x % tiles * tile, head = blockIdx.x / tiles % p.value_heads;
  const int channels = static_cast<int>(p.value_dim - first < tile ? p.value_dim - first : tile);
  const int64_t slot = p.slots[row], channel = head * p.value_dim + first;
  if (slot < 0 || slot >= p.slots_in_pool) {
    for (int i = threadIdx.x; i < tokens * channels; i += kThreads) {
      store_any(p.out, p.dtype, (row * tokens + i / channels) * p.out_stride + channel + i % channels, 0);
    }
    return;
  }
  const int64_t in_slot = slot * p.state_slot_stride + channel * key_dim;
  for (int i = threadIdx.x; i < channels * key_dim; i += kThreads) {
    of_block.state[i] = load_any(p.state, p.state_dtype, in_slot + i);
  }
  const Lag lag = lag_of(p.replay[row], p.history.entries, tokens);
  const int64_t key_head = head / (p.value_heads / p.key_heads), key = key_head * key_dim;
  // Where an entry has v, b and a.
  const int64_t v = p.key_heads * key_dim, b = v + p.value_heads * p.value_dim, a = b + p.value_heads;
  const auto entry = [&](int64_t token) {
    return slot * p.history.slot_stride + token % p.history.entries * p.history.width;
  };
  for (int token = lag.begin; token < lag.first; ++token) {
    const int64_t at = entry(token);
    const void* data = p.history.data;
    const TokenInputs inputs = {
        {data, at + key}, {data, at + key}, {data, at + v + channel}, {data, at + a + head}, {data, at + b + head}};
    take_token(p, inputs, head, channels, of_block, true, [](int, float) {});
  }
  const auto settle = [&] {
    __syncthreads();
    for (int i = threadIdx.x; i < channels * key_dim; i += kThreads) {
      store_any(p.state, p.state_dtype, in_slot + i, of_block.state[i]);
    }
  };
  if (lag.settles == kSettlesHeld) settle();
  __syncthreads();
  for (int t = 0; t < tokens; ++t) {
    const int64_t at = row * tokens + t, to = entry(lag.first + t);
    const TokenInputs inputs = {{p.q, at * p.q_stride + key},
                                {p.k, at * p.k_stride + key},
                                {p.v, at * p.v_stride + channel},
                                {p.a, at * p.a_stride + head},
                                {p.b, at * p.b_stride + head}};
    take_token(p, inputs, head, channels, of_block, true,
               [&](int c, float read) { store_any(p.out, p.dtype, at * p.out_stride + channel + c, read); });
    const auto keep = [&](const TokenInputs::At& from, int64_t i, int64_t place) {
      store_any(p.history.data, p.dtype, to + place + i, load_any(from.data, p.dtype, from.first + i));
    };
    for (int i = threadIdx.x; i < channels; i += kThreads) keep(inputs.v, i, v + channel);
    if (first > 0) continue;
    if (threadIdx.x == 0) keep(inputs.b, 0, b + head), keep(inputs.a, 0, a + head);
    if (head % (p.value_heads / p.key_heads) > 0) continue;
    for (int i = threadIdx.x; i < key_dim; i += kThreads) keep(inputs.k, i, key);
  }
  if (lag.settles == kSettlesAll) settle();
}

}  // namespace mamba::cuda::gdn
