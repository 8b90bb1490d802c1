#pragma once
// Rows of several tokens through the gated delta rule, of which later ones may be taken back (ops/replay.h), by the
// tiles of gdn_update; the idea is ssd_replay's. key_dim and value_dim are 128.
//
// Mapping. A warp has one tile. Inputs of a row's tokens go into the history once: v by the warps that have the rows,
// the gates by a head's first, k by a key head's first.
//
// Bound. Bytes: a state read, and written by each few steps.
#include "cuda/gdn_tiles.cuh"
#include "cuda/history.cuh"

namespace mamba::cuda::gdn {

template <class Part, int Warps>
__global__ void __launch_bounds__(Warps * 32)
    replay_tiles_kernel(const __grid_constant__ GdnReplayParams p, int heads_per_key, bool settled) {
  using S = typename Part::StateType;
  using T = typename Part::Input;
  constexpr int kRows = Part::kRows, kBlocks = kDim / (kRows * Warps);  // of a head
  static_assert(kBlocks * kRows * Warps == kDim);
  const int lane = threadIdx.x % 32, heads = static_cast<int>(p.value_heads);
  const int head = static_cast<int>(blockIdx.x / kBlocks) % heads, key_head = head / heads_per_key;
  const int64_t batch_row = blockIdx.x / kBlocks / heads;
  const int first = (static_cast<int>(blockIdx.x % kBlocks) * Warps + static_cast<int>(threadIdx.x) / 32) * kRows;
  const int tokens = static_cast<int>(p.tokens_per_row);
  const int64_t keys = p.key_heads * kDim, values = keys + p.value_heads * kDim;  // where an entry has v and the gates
  Part part;
  part.load_weights(p, head);
  let_next_start();
  if (!settled) wait_for_inputs();
  const int32_t slot = p.slots[batch_row];
  const bool used = slot >= 0 && slot < p.slots_in_pool;
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + (head * kDim + first) * kDim;
  typename Part::State s;
  if (used) Part::template load_state<Keep::nothing>(s, state, lane, 0);
  if (settled) wait_for_inputs();
  const int own = first + Part::own_row(lane);
  const bool writes = lane % (32 / kRows) == 0;
  T* out = static_cast<T*>(p.out) + batch_row * tokens * p.out_stride + head * kDim + own;
  if (!used) {
    for (int t = 0; t < tokens && writes; ++t) out[t * p.out_stride] = rounded<T>(0);
    return;
  }
  const Lag lag = lag_of(p.replay[batch_row], p.history.entries, tokens);
  for (int token = lag.begin; token < lag.first; ++token) {
    const T* entry = entry_of<T>(p.history, slot, token);
    const T* k = entry + key_head * kDim;
    const T* gates = entry + values + head;
    part.prepare(p, k, k, as_float(gates[p.value_heads]), as_float(gates[0]), lane);
    part.advance(s, as_float(entry[keys + head * kDim + own]), lane);
  }
  if (lag.settles == kSettlesHeld) Part::template store_state<Keep::nothing>(s, state, lane, 0);
  for (int t = 0; t < tokens; ++t) {
    const int64_t at = batch_row * tokens + t;
    const T* v = static_cast<const T*>(p.v) + at * p.v_stride + head * kDim;
    part.prepare(p, at, head, key_head, lane);
    const float y = part.advance(s, as_float(v[own]), lane);
    if (writes) out[t * p.out_stride] = rounded<T>(y);
    T* entry = entry_of<T>(p.history, slot, lag.first + t);
    if (lane < kRows) entry[keys + head * kDim + first + lane] = v[first + lane];
    if (first > 0) continue;
    if (lane == 0) {
      entry[values + head] = static_cast<const T*>(p.b)[at * p.b_stride + head];
      entry[values + p.value_heads + head] = static_cast<const T*>(p.a)[at * p.a_stride + head];
    }
    if (head % heads_per_key > 0) continue;
    const T* k = static_cast<const T*>(p.k) + at * p.k_stride + key_head * kDim;
    for (int i = lane; i < kDim; i += 32) entry[key_head * kDim + i] = k[i];
  }
  if (lag.settles == kSettlesAll) Part::template store_state<Keep::nothing>(s, state, lane, 0);
}

}  // namespace mamba::cuda::gdn
