#pragma once
// The fused walk's producer warps (see ssd_walk.cuh): copies of x, B and C into the ring, and everything of a step that
// depends on dt only.
#include "cuda/ssd_walk_stage.cuh"

namespace mamba::cuda::scan {

template <int kN, ScanPass kPass>
__device__ __forceinline__ void copy_tiles(const SsdChunkScanParams& p, const ScanMaps& maps, const ScanSplit& split,
                                           FusedWalk walk, Shared<kN>& shared) {
  using namespace hopper;
  constexpr uint32_t kBytes = kTileBytes * (1 + (kPass == ScanPass::kScan ? 2 : 1) * Shared<kN>::kBlocks);
  const int heads_per_group = static_cast<int>(p.heads / p.groups);
  RingPlace ring;
  for (; walk.next(); ring.advance(Shared<kN>::kStages)) {
    auto& stage = shared.stage[ring.index];
    uint64_t* barrier = shared.loaded + ring.index;
    barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
    if (kPass == ScanPass::kScan && split.segments == 1 && walk.first && __ldg(p.has_initial_state + walk.sequence)) {
      const int channels = min(kChannels, static_cast<int>(p.head_dim) - walk.channel);
      prefetch_l2(slot_place(p, walk, walk.slot).at,
                  channels * static_cast<int>(p.state_size) * state_bytes(p.state_dtype));
    }
    barrier_expect(barrier, kBytes);
    const int group = walk.head / heads_per_group;
    for (int i = 0; i < Shared<kN>::kBlocks; ++i) {
      if constexpr (kPass == ScanPass::kScan) copy_box_3d(stage.c[i], &maps.c, barrier, 64 * i, group, walk.token);
      copy_box_3d(stage.b[i], &maps.b, barrier, 64 * i, group, walk.token);
    }
    copy_box_3d(stage.x, &maps.x, barrier, walk.channel, walk.head, walk.token);
  }
}

// Every third step, so that the loads of three steps are under way. A lane holds tokens 2 lane and 2 lane + 1.
template <class T, int kN, ScanPass kPass>
__device__ __forceinline__ void prepare_steps(const SsdChunkScanParams& p, const ScanMaps& maps, const ScanSplit& split,
                                              FusedWalk walk, int turn, Shared<kN>& shared) {
  using namespace hopper;
  const int lane = threadIdx.x % 32;
  const int heads_per_group = static_cast<int>(p.heads / p.groups);
  float next[2], next_a, next_bias, next_d;
  const auto load = [&] {
    next_a = __ldg(p.a + walk.head);
    next_bias = p.dt_bias ? __ldg(p.dt_bias + walk.head) : 0.0f;
    next_d = p.d ? __ldg(p.d + walk.head) : 0.0f;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int l = 2 * lane + i;
      next[i] = l < walk.tokens ? load_dt<T>(p, walk.token + l, walk.head) : 0.0f;
    }
    // The copies of this step come 3 steps later: the L2 may have it by then. A group's first head asks for B and C.
    if (lane == 0) {
      prefetch_box_3d(&maps.x, walk.channel, walk.head, walk.token);
      if (walk.head % heads_per_group == 0 && walk.channel == 0) {
        for (int i = 0; i < Shared<kN>::kBlocks; ++i) {
          prefetch_box_3d(&maps.b, 64 * i, walk.head / heads_per_group, walk.token);
          if (kPass == ScanPass::kScan) prefetch_box_3d(&maps.c, 64 * i, walk.head / heads_per_group, walk.token);
        }
      }
    }
    __syncwarp();
  };
  // A barrier tells one phase from the next but not from the one after. This warp sees every third step only, and the
  // output warpgroups need not finish in order: with step i - 7 released, i - 8 may not be, and `empty` of its stage
  // would look as if i - 4 were. That i - 4 is ready says that i - 8 was released.
  const auto claim = [&](const RingPlace& ring) {
    barrier_wait(shared.ready + ring.index, ring.phase ^ 1);
    barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
  };
  int index = -1;        // of the walk's step
  int of_others = turn;  // steps before the next one of this warp
  const auto advance = [&] {
    for (; of_others >= 0; --of_others) {
      ++index;
      if (!walk.next()) return false;
    }
    of_others = kPreparers - 1;
    return true;
  };
  bool more = advance();
  if (more) load();
  while (more) {
    const Position now = walk;
    const RingPlace ring = Shared<kN>::place(index);
    const float raw[2] = {next[0], next[1]}, a_log2 = next_a * kLog2e, bias = next_bias, d = next_d;
    more = advance();
    if (more) load();
    const int tokens = now.tokens, head = now.head;
    const LaneSteps steps = sum_steps(raw, a_log2, bias, tokens, p);
    const float(&dt)[2] = steps.dt, (&a)[2] = steps.a;
    const float end = steps.end;

    claim(ring);
    Step& step = shared.step[ring.index];
    const auto store = [&](float* dst, float v0, float v1) { reinterpret_cast<float2*>(dst)[lane] = {v0, v1}; };
    reinterpret_cast<uint32_t*>(step.to_end)[lane % 4 * 8 + lane / 4] =
        pack_operands<T>(dt[0] * fast_exp2(end - a[0]), dt[1] * fast_exp2(end - a[1]));
    if constexpr (kPass == ScanPass::kScan) {
      store(step.a, a[0], a[1]);
      store(step.source, a[0] - fast_log2(dt[0]), a[1] - fast_log2(dt[1]));
      store(step.from_start, fast_exp2(a[0]), fast_exp2(a[1]));
      const float start = __shfl_sync(~0u, a[0], lane / 8 * 8);
      store(step.row, fast_exp2(a[0] - start), fast_exp2(a[1] - start));
#pragma unroll
      for (int w = 1; w < 4; ++w) {
        const float at = __shfl_sync(~0u, a[0], 8 * w);
        if (lane < 8 * w) {
          store(step.column[w - 1], fast_exp2(at - a[0]) * dt[0], fast_exp2(at - a[1]) * dt[1]);
        }
      }
    }
    if (lane == 0) {
      step.total = fast_exp2(end);
      step.end = end;
      step.d = d;
      step.token = now.token;
      step.tokens = tokens;
      step.first = now.first;
      step.head = head;
      step.channel = now.channel;
      step.load = step.store = {nullptr, DType::f32};
      step.snapshot = snapshot_place<kPass>(p, now);
      if (now.first) step.load = place_before<kPass>(p, split, now);
      if (now.last) {
        step.store = place_after<kPass>(p, split, now);
        if (kPass == ScanPass::kStates)
          step.decay_to = now.channel == 0 ? split.decay + part_of(p, split, now) : nullptr;
      }
    }
    if (tokens < kTokens) {
      barrier_wait(shared.loaded + ring.index, ring.phase);
      auto& stage = shared.stage[ring.index];
      for (int i = 8 * tokens + lane; i < 8 * kTokens; i += 32) {
        reinterpret_cast<uint4*>(stage.x)[i] = uint4{};
        for (int j = 0; j < Shared<kN>::kBlocks; ++j) reinterpret_cast<uint4*>(stage.b[j])[i] = uint4{};
      }
      fence_async();
    }
    warp_arrive(shared.ready + ring.index);
  }
  if (index % kPreparers != turn) return;    // another warp tells of the end
  for (int i = index; i < index + 2; ++i) {  // one for each output warpgroup
    const RingPlace ring = Shared<kN>::place(i);
    claim(ring);
    if (lane == 0) shared.step[ring.index].tokens = 0;
    warp_arrive(shared.ready + ring.index);
  }
}

template <class T>
__device__ __forceinline__ void zero_padding(const SsdChunkScanParams& p, FusedWalk walk) {
  while (walk.next_item(true)) {
    if (walk.segment != 0) continue;
    const int begin = p.query_start_loc[walk.sequence], end = p.query_start_loc[walk.sequence + 1];
    const int pieces = min(kChannels, static_cast<int>(p.head_dim) - walk.channel) / 8;
    for (int i = threadIdx.x % 32; i < (end - begin) * pieces; i += 32) {
      T* row = static_cast<T*>(p.out) + static_cast<int64_t>(begin + i / pieces) * p.out_stride +
               walk.head * p.head_dim + walk.channel;
      reinterpret_cast<uint4*>(row)[i % pieces] = uint4{};
    }
  }
}

}  // namespace mamba::cuda::scan
