#pragma once
// The fused walk's shared memory (see ssd_walk.cuh): a ring of steps, two rounded states, and the barriers between the
// warps.
#include "cuda/ssd_steps.cuh"

namespace mamba::cuda {

struct ScanMaps {
  CUtensorMap x, b, c;  // (channel, head, token), (n, group, token) in boxes of 64 x 1 x 64
  CUtensorMap out;      // (channel, head, token) in boxes of 64 x 1 x 16
};

namespace scan {

inline constexpr int kChannels = 64;  // of an item
inline constexpr int kThreads = 512;
inline constexpr int kPreparers = 3;
inline constexpr uint32_t kTileBytes = kTokens * 128;

using FusedWalk = Walk<kChannels>;

// What a step needs besides its tiles.
struct Step {
  float a[kTokens];                  // log2 of the decay since the start of the step
  float source[kTokens];             // a[m] - log2(dt'[m])
  float from_start[kTokens];         // exp2(a[l])
  float row[kTokens];                // exp2(a[l] - a[16 (l / 16)])
  float column[3][kTokens];          // [w-1][m < 16 w]: exp2(a[16 w] - a[m]) dt'[m]
  uint4 to_end[4][2];                // [t]: pairs m = 2 t + 8 i and + 1 of dt'[m] exp2(a[T-1] - a[m])
  float end, total, d;               // a[T-1], exp2(a[T-1]), D
  int token, tokens, head, channel;  // tokens = 0: there are no more steps
  bool first;                        // of its item
  StatePlace load, store;            // of the state before this step and after it
  StatePlace snapshot;               // of the state after it, once more
  float* decay_to;
};

// kN: state_size, padded.
template <int kN>
struct Shared {
  static constexpr int kBlocks = kN / 64;
  static constexpr int kStages = 4;
  // The place in the ring of the step with this number.
  static __device__ __forceinline__ hopper::RingPlace place(int step) {
    return {step % kStages, static_cast<uint32_t>(step / kStages % 2)};
  }
  struct Stage {
    uint8_t x[kTileBytes], b[kBlocks][kTileBytes], c[kBlocks][kTileBytes];
  };
  Stage stage[kStages];
  uint8_t state[2][kBlocks][kTileBytes];  // before an even step, before an odd one
  uint8_t out[8][16 * 128];               // of each output warp
  Step step[kStages];
  uint64_t loaded[kStages], ready[kStages], empty[kStages], rounded[2], used[2];
};
// A warp arrives at a barrier once, for all its lanes. What the lanes did before is ordered before the arrival: their
// accesses by __syncwarp (bar.warp.sync orders memory among the lanes), the arrival itself by its release, which covers
// what lane 0 has thus observed; who waits acquires. Writes that the matrix unit or the copy engine will read have
// their fence.proxy.async before, in the lane that wrote. compute-sanitizer's racecheck does not see through this: for
// it, MAMBA_EVERY_LANE_ARRIVES lets every lane arrive, at 0.6 % of the time of 1x8192.
#ifdef MAMBA_EVERY_LANE_ARRIVES
inline constexpr bool kEveryLane = true;
#else
inline constexpr bool kEveryLane = false;
#endif
inline constexpr int kArrivals = kEveryLane ? 32 : 1;  // of a warp
__device__ __forceinline__ void warp_arrive(uint64_t* barrier) {
  __syncwarp();
  if (kEveryLane || threadIdx.x % 32 == 0) hopper::barrier_arrive(barrier);
}

}  // namespace scan
}  // namespace mamba::cuda
