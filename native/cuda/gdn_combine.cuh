#pragma once
// gdn_chunk, the states between segments (gdn_parts.cuh): S[i] = own[i] + S[i - 1] P[i], for i from 1 on.
//
// Mapping. A warpgroup has 64 rows of a sequence's and head's S, as left operands in registers; P comes through a ring
// in shared memory.
//
// Numbers. Products of tf32, both sides rounded to nearest: one rounding of P to bf16 would be an error of the whole
// state in each segment, and not of what a chunk adds to it. Sums, and the states kept, are floats.
//
// Bound. 64 x 128 x 128 multiply-adds for each segment: 1024 cycles of the matrix unit.
#include "cuda/gdn_gates.cuh"
#include "cuda/gdn_parts.cuh"

namespace mamba::cuda::gdn {

inline constexpr int kCombineThreads = 160;

struct Combine {
  static constexpr int kStages = 3;
  uint8_t p[kStages][kSegmentBytes / 2];
  uint64_t full[kStages], empty[kStages];
};

// S as left operands: of each 8 columns of a row, a thread's two are numbers t and t + 4 of the sum.
__device__ __forceinline__ void round_sums(uint32_t (&to)[16][4], const float (&s)[64]) {
#pragma unroll
  for (int k = 0; k < 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) to[k][i] = hopper::round_tf32(s[4 * k + i % 2 * 2 + i / 2]);
  }
}

static __global__ void __launch_bounds__(kCombineThreads, 1)
    combine_kernel(const __grid_constant__ GdnChunkParams p, const __grid_constant__ Scratch scratch) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using namespace hopper;
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<Combine*>(raw);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Combine::kStages; ++i) barrier_init(shared.full + i, 1), barrier_init(shared.empty + i, 4);
    barrier_init_fence();
  }
  __syncthreads();
  wait_for_inputs();
  let_next_start();
  const int units = 2 * static_cast<int>(p.value_heads);  // of a sequence
  int stage = 0;
  uint32_t phase = 0;
  const auto advance = [&] {
    if (++stage == Combine::kStages) stage = 0, phase ^= 1;
  };
  int passed = 0;  // sequences with segments
  for (int base = 0; base < scratch.entries; base += 32) {
    Segment mine = {};
    if (base + lane < scratch.entries) mine = scratch.segments[base + lane];
    uint32_t found = __ballot_sync(~0u, mine.chunks > 0 && mine.index == 0 && mine.count > 2);
    for (; found; found &= found - 1, ++passed) {
      const int from = __ffs(static_cast<int>(found)) - 1;
      Segment first = {};
      first.chunk = __shfl_sync(~0u, mine.chunk, from), first.count = __shfl_sync(~0u, mine.count, from);
      first.sequence_chunks = __shfl_sync(~0u, mine.sequence_chunks, from);
      const int64_t grid = gridDim.x;
      // This block's units: those whose number among all is its own modulo the blocks.
      int unit = static_cast<int>((blockIdx.x + grid - static_cast<int64_t>(passed) * units % grid) % grid);
      for (; unit < units; unit += static_cast<int>(grid)) {
        const int head = unit / 2, group = unit % 2;
        if (warp == 4) {
          if (lane != 0) continue;
          for (int i = 1; i + 1 < first.count; ++i, advance()) {
            barrier_wait(shared.empty + stage, phase ^ 1);
            barrier_expect(shared.full + stage, kSegmentBytes / 2);
            const uint8_t* at = scratch.state(p, first.chunk_of(i), head, 1);
            for (int j = 0; j < 4; ++j)
              copy_bytes(shared.p[stage] + j * 16384, at + j * 16384, 16384, shared.full + stage);
          }
          continue;
        }
        float even[64], odd[64];  // S of the segment before, or of this one: own, to which the products are added
        uint32_t left[16][4];
        const auto place = [&](int i) { return scratch.state(p, first.chunk_of(i), head, 0); };
        const bool never = p.tokens < 0;
        const auto step = [&](float(&s)[64], float(&next)[64], int i) {
          barrier_wait(shared.full + stage, phase);
          const uint64_t by = describe_along_sum(shared_address(shared.p[stage]));
          products_begin();
#pragma unroll
          for (int k = 0; k < 16; ++k) multiply_add_tf32(s, left[k], by + ((k / 4 * 16384 + k % 4 * 32) >> 4));
          products_commit();
          if (i + 2 < first.count) load_kept(next, place(i + 1), group, threadIdx.x);
          products_wait<0>();
          pin(s);
          hold(left, never);
          __syncwarp();
          if (lane == 0) barrier_arrive(shared.empty + stage);
          store_kept(s, place(i), group, threadIdx.x);
          round_sums(left, s);
          advance();
        };
        load_kept(even, place(0), group, threadIdx.x);
        load_kept(odd, place(1), group, threadIdx.x);
        round_sums(left, even);
        for (int i = 1; i + 1 < first.count; i += 2) {
          step(odd, even, i);
          if (i + 2 < first.count) step(even, odd, i + 1);
        }
      }
    }
  }
#endif
}

}  // namespace mamba::cuda::gdn
