#pragma once
// The fused SSD chunk scan for Hopper: one pass over x, B, C and dt, the running state in registers.
//
// Idea. One block walks the tokens of one (sequence, head, 64 channels) 64 at a time ("steps", counted from the start
// of each chunk) and goes on to its next item. With a[l] the running sum of dt' A inside a step of T tokens:
//   M[l][m] = C_l . B_m exp(a[l] - a[m]) dt'_m   for m <= l, plus D for m = l
//   y       = diag(exp(a)) C S^T + M x
//   S      <- exp(a[T-1]) S + (diag(dt'_m exp(a[T-1] - a[m])) x)^T B
// The running state never leaves the registers of its warpgroup; a copy of it, rounded to 16 bits, goes to shared
// memory once a step. Accumulators of C B^T become, packed to 16 bits, the left operand of M x.
//
// Mapping. 4 warpgroups, joined by a ring of kStages steps in shared memory and two rounded states:
//   producer  warp 0: copies x, B, C (bulk tensor copies). warps 1-3: everything that depends on dt only, in turns.
//   state     rounds S, updates S. The only serial part: one product of 64 x 128 x 64 a step.
//   output    2 of them, on alternate steps: C B^T, C S^T, M x, y to rows of out. Below the diagonal blocks of 16 the
//             decay in M is a factor of l times a factor of m, both <= 1: a step takes 1024 exponentials and a few.
//
// Layout. Tiles of 64 tokens x 64 elements, 128-byte rows, 128-byte swizzle. Rows of a step past its last token belong
// to the next sequence: x and B of those are zeroed (0 x NaN), their dt' is 0, their y is not stored.
//
// Numbers. Products of 16-bit operands, sums in float; S is float, rounded to 16 bits only as an operand of S C^T. The
// error of y is thus one of 16-bit rounding relative to |S| |C|, as in the Triton kernels.
//
// Bound. Per head and step: 2 x 64 x 64 x 128 (C B^T, C S^T) + 64 x 64 x 64 (M x, half of it zeros) + 64 x 128 x 64 (S)
// multiply-adds: 896 cycles of a multiprocessor's matrix unit; about 150 KiB through shared memory: 1200 cycles; 40 KiB
// of reads (32 KiB of them B and C, which all heads of a group read: L2) and 8 KiB of writes. Measured: 1.07 us, 1760
// cycles in ncu. No unit is full: a step holds its stage from the copy's start until M x, 4 stages fit, and the chains
// of dependent instructions in the producer's dt warps and in the output warpgroups are as long as the ring.
#include "cuda/ssd_walk_feed.cuh"
#include "cuda/ssd_walk_out.cuh"
#include "cuda/ssd_walk_state.cuh"

namespace mamba::cuda::scan {

template <class T, int kN, ScanPass kPass>
__global__ __launch_bounds__(kThreads, 1) void walk_kernel(const __grid_constant__ SsdChunkScanParams p,
                                                           const __grid_constant__ ScanMaps maps,
                                                           const __grid_constant__ ScanSplit split) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using namespace hopper;
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<Shared<kN>*>(raw);
  if (threadIdx.x == 0) {
    if (shared_address(raw) % 1024 != 0) __trap();
    for (int i = 0; i < Shared<kN>::kStages; ++i) {
      barrier_init(shared.loaded + i, 1);
      barrier_init(shared.ready + i, kArrivals);
      barrier_init(shared.empty + i, kArrivals * (kPass == ScanPass::kScan ? 8 : 4));
    }
    for (int i = 0; i < 2; ++i) {
      barrier_init(shared.rounded + i, kArrivals * 4);
      barrier_init(shared.used + i, kArrivals * 4);
    }
    barrier_init_fence();
  }
  __syncthreads();
  wait_for_inputs();
  let_next_start();
  const FusedWalk walk(p, split.segments, kPass == ScanPass::kStates ? split.segments - 1 : split.segments);
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x / 128), 0);  // ptxas sees that it is uniform
  if (group == 0) {
    registers_less<72>();
    const int warp = threadIdx.x / 32;
    if (threadIdx.x == 0) {
      copy_tiles<kN, kPass>(p, maps, split, walk, shared);
    } else if (warp != 0) {
      prepare_steps<T, kN, kPass>(p, maps, split, walk, warp - 1, shared);
      if (warp == 3 && kPass == ScanPass::kScan) zero_padding<T>(p, walk);
    }
  } else if (group == 1) {
    registers_more<168>();
    advance_state<T, kN, kPass>(p, shared);
  } else {
    registers_more<136>();
    if constexpr (kPass == ScanPass::kScan) write_out<T, kN>(p, maps, group - 2, shared);
  }
#endif
}

}  // namespace mamba::cuda::scan
