#pragma once
// The walk of gdn_chunk (gdn_walk.cuh): its shared memory, its items, and the warps that feed its ring and store its
// rows of out.
#include "cuda/gdn_gates.cuh"
#include "cuda/gdn_parts.cuh"

namespace mamba::cuda::gdn {

inline constexpr int kWalkThreads = 384;

// One chunk of a walk, for the warpgroups.
struct alignas(16) Step {
  enum Flags { first = 1, last = 2, identity = 4, from_slot = 8, to_slot = 16, kept = 32 };
  int token, tokens, head, flags;  // tokens = 0: there are no more steps
  // At the first step the state comes from the slot, or from memory here, or it is zeros, or I (identity: S is P,
  // without V); after the last it goes to the slot or to memory here.
  const uint8_t* from;
  uint8_t* to;
  int slot, snapshot;  // kept: the slot `snapshot` gets the state after this step too
};

template <GdnPass kPass>
struct Walk;
template <>
struct Walk<GdnPass::out> {
  static constexpr int kStages = 3;
  struct Stage {
    uint8_t k[2][kTileBytes], t[kTileBytes], v[2][kTileBytes], q[2][kTileBytes], m[kTileBytes];
  };
  Stage stage[kStages];
  uint8_t out[2][kTileBytes];  // rows of 64 channels, from each warpgroup to the warps that store them
  int4 out_of[2];              // their token, tokens, head
  uint64_t out_full[2], out_empty[2];
  Gates gates[kStages];
  Step step[kStages];
  uint64_t full[kStages], empty[kStages];
};
template <>
struct Walk<GdnPass::states> {
  static constexpr int kStages = 4;
  struct Stage {
    uint8_t k[2][kTileBytes], t[kTileBytes], v[2][kTileBytes];
  };
  Stage stage[kStages];
  Gates gates[kStages];
  Step step[kStages];
  uint64_t full[kStages], empty[kStages];
};

// The items of this block, one after another: those whose number among all is its own modulo the blocks. A warp looks
// at 32 entries at a time. A segment's items are its heads; in the first walk each head twice, S and P. There the last
// segment has none, for nothing comes after it, and the first one no P.
template <GdnPass kPass>
struct Items {
  int base = -32, unit = 0, units = 0, passed = 0;  // passed: items before the segment's, modulo the blocks
  uint32_t found = 0;
  Segment mine = {}, segment = {};

  // False at the end. Else `segment` and `unit` are the item's.
  __device__ bool next(const Scratch& scratch, int heads) {
    const int blocks = static_cast<int>(gridDim.x), lane = threadIdx.x % 32;
    unit += blocks;
    while (unit >= units) {
      while (found == 0) {
        base += 32;
        if (base >= scratch.entries) return false;
        mine.chunks = 0;
        if (base + lane < scratch.entries) mine = scratch.segments[base + lane];
        found = __ballot_sync(~0u, mine.chunks > 0 && (kPass == GdnPass::out || mine.index + 1 < mine.count));
      }
      const int from = __ffs(static_cast<int>(found)) - 1;
      found &= found - 1;
      const auto get = [from](int32_t v) { return __shfl_sync(~0u, v, from); };
      segment = {get(mine.chunk),
                 get(mine.chunks),
                 get(mine.slot),
                 get(mine.initial),
                 get(mine.index),
                 get(mine.count),
                 get(mine.sequence_chunks),
                 0};
      units = kPass == GdnPass::states && segment.index > 0 ? 2 * heads : heads;
      unit = static_cast<int>(blockIdx.x) - passed;
      if (unit < 0) unit += blocks;
      passed = (passed + units) % blocks;
    }
    return true;
  }
};

template <GdnPass kPass>
__device__ __forceinline__ void feed(const GdnChunkParams& p, const GdnMaps& maps, const Scratch& scratch,
                                     Walk<kPass>& shared) {
  using namespace hopper;
  constexpr bool kOut = kPass == GdnPass::out;
  RingPlace ring;
  Items<kPass> items;
  const int heads_per_key = scratch.heads_per_key, lane = threadIdx.x % 32;
  const int heads = static_cast<int>(p.value_heads);
  while (items.next(scratch, heads)) {
    const Segment& segment = items.segment;
    const bool identity = items.unit >= heads;
    const int head = items.unit - identity * heads, key_head = head / heads_per_key;
    if (lane != 0) continue;
    const bool from_slot = segment.index == 0 && segment.initial && !identity;
    if (from_slot) {  // asked for steps before it is needed
      const int bytes = p.state_dtype == DType::f32 ? 4 : 2;
      const auto at = reinterpret_cast<uintptr_t>(p.state) +
                      (segment.slot * p.state_slot_stride + static_cast<int64_t>(head) * kDim * kDim) * bytes;
      prefetch_l2(reinterpret_cast<const void*>(at / 16 * 16), kDim * kDim * bytes);
    }
    Step step = {.head = head, .slot = segment.slot};
    if (kOut) {
      step.from = segment.index == 0 ? nullptr : scratch.state(p, segment.chunk_of(segment.index - 1), head, 0);
    } else {
      step.to = scratch.state(p, segment.chunk, head, identity);
    }
    const Gates* gates = scratch.gates + static_cast<int64_t>(segment.chunk) * p.value_heads + head;
    const int32_t* bounds = p.cu_chunk_seqlens + segment.chunk;
    int begin = bounds[0], end = bounds[1];
    for (int i = 0; i < segment.chunks; ++i, ring.advance(Walk<kPass>::kStages), gates += p.value_heads) {
      step.snapshot = kOut && p.chunk_slots ? p.chunk_slots[segment.chunk + i] : -1;
      const int next_end = i + 1 < segment.chunks ? bounds[i + 2] : 0;  // used a chunk later
      auto& stage = shared.stage[ring.index];
      uint64_t* barrier = shared.full + ring.index;
      barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
      step.token = begin, step.tokens = min(kTokens, end - begin);
      step.flags = (i == 0) * Step::first + (i + 1 == segment.chunks) * Step::last + identity * Step::identity +
                   from_slot * Step::from_slot + (segment.index + 1 == segment.count) * Step::to_slot +
                   (step.snapshot >= 0 && step.snapshot < p.slots_in_pool) * Step::kept;
      shared.step[ring.index] = step;
      barrier_expect(barrier, (identity ? 3 : kOut ? 8 : 5) * kTileBytes + sizeof(Gates));
      for (int j = 0; j < 2; ++j) copy_box_3d(stage.k[j], &maps.k, barrier, 64 * j, key_head, begin);
      copy_bytes(&shared.gates[ring.index], gates, sizeof(Gates), barrier);
      if constexpr (kOut) {
        for (int j = 0; j < 2; ++j) copy_box_3d(stage.q[j], &maps.q, barrier, 64 * j, key_head, begin);
      }
      if (!identity) {
        for (int j = 0; j < 2; ++j) copy_box_3d(stage.v[j], &maps.v, barrier, 64 * j, head, begin);
      }
      copy_box_3d(stage.t, &maps.out, barrier, 0, head, begin);
      if constexpr (kOut) copy_box_3d(stage.m, &maps.out, barrier, 64, head, begin);
      begin = end, end = next_end;
    }
  }
  if (lane != 0) return;
  barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
  shared.step[ring.index].tokens = 0;
  barrier_arrive(shared.full + ring.index);
}

// A warpgroup's rows of out from shared memory, by a warp: so the warpgroup need not wait for what it has read.
template <class T>
__device__ __forceinline__ void store_out(const GdnChunkParams& p, Walk<GdnPass::out>& shared, int group) {
  using namespace hopper;
  const int lane = threadIdx.x % 32;
  const auto* tile = reinterpret_cast<const uint4*>(shared.out[group]);
  const uint4 *even = tile + (lane ^ lane / 8), *odd = tile + (lane ^ lane / 8 ^ 4);  // of the rows' swizzle
  for (uint32_t phase = 0;; phase ^= 1) {
    barrier_wait(shared.out_full + group, phase);
    const int4 of = shared.out_of[group];  // token, tokens, head
    if (of.y == 0) return;
    T* out = static_cast<T*>(p.out) + (of.x + lane / 8) * p.out_stride + of.z * kDim + 64 * group + lane % 8 * 8;
#pragma unroll
    for (int i = 0; i < 16; i += 4) {  // four rows at once
      uint4 v[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = (j % 2 ? odd : even)[32 * (i + j)];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (4 * (i + j) + lane / 8 < of.y) *reinterpret_cast<uint4*>(out + 4 * (i + j) * p.out_stride) = v[j];
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(shared.out_empty + group);
  }
}

}  // namespace mamba::cuda::gdn
