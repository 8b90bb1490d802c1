#pragma once
// The fused walk's state warpgroup (see ssd_walk.cuh): the running state of 64 channels in its registers, a rounded
// copy of it for the output warpgroups, its update at each step.
#include "cuda/ssd_walk_stage.cuh"

namespace mamba::cuda::scan {

// Channels `channel` and + 8 of an item's `channels`, n = 8 j + 2 t and + 1 of state_size, which is kN (kFull) or a
// smaller multiple of 8. What is not there is read elsewhere: a branch for each load would wait for each.
template <class S, int kN, bool kFull>
__device__ __forceinline__ void load_state(float (&state)[kN / 2], const S* from, int channel, int channels,
                                           int state_size, int t) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const bool inside = channel + 8 * r < channels;
    const S* row = from + (inside ? channel + 8 * r : 0) * (kFull ? kN : state_size) + 2 * t;
    float2 v[kN / 8];
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) v[j] = load_pair(row + (kFull || 8 * j < state_size ? 8 * j : 0));
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
      const bool here = inside && (kFull || 8 * j < state_size);
      state[4 * j + 2 * r] = here ? v[j].x : 0.0f;
      state[4 * j + 2 * r + 1] = here ? v[j].y : 0.0f;
    }
  }
}
template <class S, int kN, bool kFull>
__device__ __forceinline__ void store_state(const float (&state)[kN / 2], S* to, int channel, int channels,
                                            int state_size, int t) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    S* row = to + (channel + 8 * r) * (kFull ? kN : state_size) + 2 * t;
    if (channel + 8 * r >= channels) continue;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
      if (kFull || 8 * j < state_size) store_pair(row + 8 * j, state[4 * j + 2 * r], state[4 * j + 2 * r + 1]);
    }
  }
}

// Warp w has channels 16 w .. 16 w + 15 of the item; a thread channels g and g + 8 of those, n = 8 j + 2 t and + 1.
template <class T, int kN, ScanPass kPass>
__device__ __forceinline__ void advance_state(const SsdChunkScanParams& p, Shared<kN>& shared) {
  using namespace hopper;
  constexpr bool kScan = kPass == ScanPass::kScan;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int channel = 16 * warp + g, state_size = static_cast<int>(p.state_size);
  const int x_row = lane / 16 * 8 + lane % 8, x_piece = (2 * warp + lane / 8 % 2) ^ (lane % 8);
  const int state_row = 16 * warp + lane % 16;
  const bool never = p.heads < 0;

  // x^T as a left operand and the weights of its tokens. They are multiplied only when the product before has ended:
  // loaded as they will be used, ptxas would load them into the registers that this product still reads (see hold()).
  const auto load_operand = [&](uint32_t(&x)[4][4], uint4(&weights)[2], int index) {
    const uint32_t x_tile = shared_address(shared.stage[index].x) + 128 * x_row + 16 * x_piece;
#pragma unroll
    for (int k = 0; k < 4; ++k) load_transposed(x[k], x_tile + 2048 * k);
#pragma unroll
    for (int i = 0; i < 2; ++i) weights[i] = shared.step[index].to_end[t][i];
  };

  RingPlace ring, tile;  // of steps; of rounded states
  uint32_t x[4][4];
  uint4 weights[2];
  barrier_wait(shared.ready + ring.index, ring.phase);
  bool more = shared.step[ring.index].tokens != 0;
  bool first = true;
  float total = 0;
  if (more) {
    barrier_wait(shared.loaded + ring.index, ring.phase);
    load_operand(x, weights, ring.index);
    total = shared.step[ring.index].total;
  }
  float state[kN / 2];
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) state[i] = 0;
  float decay = 0;  // log2, of a segment
  while (more) {
    const int index = ring.index;
    const Step& step = shared.step[index];
    if (first) {
      const int channels = static_cast<int>(p.head_dim) - step.channel;
      if (step.load.at) {
        with_state_type(step.load.type, step.load.at, [&](const auto* from) {
          using S = std::remove_cvref_t<decltype(*from)>;
          state_size == kN ? load_state<S, kN, true>(state, from, channel, channels, state_size, t)
                           : load_state<S, kN, false>(state, from, channel, channels, state_size, t);
        });
      } else {
#pragma unroll
        for (int i = 0; i < kN / 2; ++i) state[i] = 0;
      }
    }
    uint32_t rounded[kN / 4];
    if constexpr (kScan) {
#pragma unroll
      for (int i = 0; i < kN / 4; ++i) rounded[i] = pack_operands<T>(state[2 * i], state[2 * i + 1]);
    } else {
      decay = step.first ? step.end : decay + step.end;
    }
    // Not under way with the product: ptxas waits for all of it before it lets an accumulator be touched.
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) state[i] *= total;
    uint32_t weighted[4][4];
    const uint32_t w[8] = {weights[0].x, weights[0].y, weights[0].z, weights[0].w,
                           weights[1].x, weights[1].y, weights[1].z, weights[1].w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) weighted[k][i] = multiply_pairs<T>(x[k][i], w[2 * k + i / 2]);
    }
    const uint64_t b = describe_across_sum(shared_address(shared.stage[index].b), kTileBytes);
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k) multiply_add_across<T>(state, weighted[k], b + ((k * 2048) >> 4));
    products_commit();

    // Under the product: the rounded state to the outputs, the next step's left operand.
    if constexpr (kScan) {
      barrier_wait(shared.used + tile.index, tile.phase ^ 1);
      const uint32_t rows = shared_address(shared.state[tile.index]) + 128 * state_row;
#pragma unroll
      for (int j = 0; j < kN / 8; j += 2) {
        const uint32_t* v = rounded + 2 * j;
        const int piece = (j % 8 + lane / 16) ^ (state_row % 8);
        store_matrices(rows + j / 8 * kTileBytes + 16 * piece, v[0], v[1], v[2], v[3]);
      }
    }
    const StatePlace store = step.store, snapshot = step.snapshot;
    const int channels = static_cast<int>(p.head_dim) - step.channel;
    if constexpr (!kScan) {
      if (store.at && step.decay_to && threadIdx.x % 128 == 0) *step.decay_to = decay;
    }
    ring.advance(Shared<kN>::kStages);
    barrier_wait(shared.ready + ring.index, ring.phase);
    more = shared.step[ring.index].tokens != 0;
    if (more) {
      barrier_wait(shared.loaded + ring.index, ring.phase);
      load_operand(x, weights, ring.index);
      first = shared.step[ring.index].first;
      total = shared.step[ring.index].total;
    }
    if constexpr (kScan) {
      fence_async();
      warp_arrive(shared.rounded + tile.index);
      tile.advance(2);
    }
    products_wait<0>();
    pin(state);
    hold(weighted, never);
    warp_arrive(shared.empty + index);
    if (!store.at && !snapshot.at) continue;
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
      const StatePlace place = i == 0 ? store : snapshot;
      if (!place.at) continue;
      with_state_type(place.type, place.at, [&](auto* to) {
        using S = std::remove_pointer_t<decltype(to)>;
        state_size == kN ? store_state<S, kN, true>(state, to, channel, channels, state_size, t)
                         : store_state<S, kN, false>(state, to, channel, channels, state_size, t);
      });
    }
  }
}

}  // namespace mamba::cuda::scan
