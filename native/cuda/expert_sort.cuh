#pragma once
// Kernels of sort_by_expert: the pairs of all tokens in the order of their experts, and within one in their own order.
// No atomics, so nothing depends on who comes first. Ids outside [0, experts) are padding: a column behind the last.
//
// few. A block has an expert and reads all ids: the smaller ones give its offset, the equal ones, counted in a run for
// each warp and then by ballots, the order of its rows. One block more has the padding. Bound. Latency, and experts
// times the ids.
//
// many. A cluster of eight blocks reads the ids once, a run for each of its 256 warps, which counts them by expert in
// shared memory: lanes with the same expert find each other (match.any), so that an expert's count is written once for
// 32 pairs, and a lane keeps how many came before its pair. The blocks' counts meet in the memory of all, and each
// block adds up what lies before it. The places that rows go to lie apart, a sector for each, so kParts clusters do the
// same and write every kParts-th 32 pairs each. Bound. Latency, of some passes through shared memory.
#include "cuda/cluster.cuh"
#include "cuda/hopper.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/moe.h"

namespace mamba::cuda::expert_sort {

__device__ __forceinline__ int column_of(const SortByExpertParams& p, int pair) {
  const int e = p.ids[pair], experts = static_cast<int>(p.experts);
  return e >= 0 && e < experts ? e : experts;
}

// A pair's row is the at-th.
__device__ __forceinline__ void write_row(const SortByExpertParams& p, int pair, int column, int at) {
  const bool padding = column == static_cast<int>(p.experts);
  p.row_token[at] = padding ? -1 : pair / static_cast<int>(p.k);
  p.positions[pair] = padding ? -1 : at;
}

template <int Warps>
__global__ void __launch_bounds__(Warps * 32) few_kernel(const __grid_constant__ SortByExpertParams p) {
  __shared__ int smaller[Warps], equal[Warps];
  const int column = blockIdx.x;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, pairs = static_cast<int>(p.pairs);
  const int run = ((pairs + Warps - 1) / Warps + 31) / 32 * 32, begin = min(warp * run, pairs);
  const int end = min(begin + run, pairs);
  // -1 behind the last: smaller than every expert, so it is not counted among those.
  const auto its_column = [&](int pair) { return pair < end ? column_of(p, pair) : -1; };
  let_next_start();
  wait_for_inputs();
  int less = 0, same = 0;
#pragma unroll 8
  for (int i = begin; i < end; i += 32) {
    const int c = its_column(i + lane);
    less += c >= 0 && c < column, same += c == column;
  }
  less = __reduce_add_sync(~0u, less), same = __reduce_add_sync(~0u, same);
  if (lane == 0) smaller[warp] = less, equal[warp] = same;
  __syncthreads();
  int offset = 0, row = 0;
  for (int w = 0; w < Warps; ++w) {
    offset += smaller[w];
    row += w < warp ? equal[w] : 0;
  }
  row += offset;
  if (threadIdx.x == 0) p.offsets[column] = offset;
  if (same == 0) return;
#pragma unroll 4
  for (int i = begin; i < end; i += 32) {
    const bool mine = its_column(i + lane) == column;
    const unsigned all = __ballot_sync(~0u, mine);
    if (mine) write_row(p, i + lane, column, row + __popc(all & ((1u << lane) - 1)));
    row += __popc(all);
  }
}

inline constexpr int kBlocks = 8, kWarps = 32, kParts = 4, kRounds = 16;
inline constexpr int64_t kMostPairs = kBlocks * kWarps * kRounds * 32;

// Counts of each warp, of each block, and where a block's rows begin.
inline size_t many_bytes(int64_t experts) {
  return static_cast<size_t>((kWarps + kBlocks + 1) * (experts + 1)) * sizeof(int);
}

__global__ void __launch_bounds__(kWarps * 32) many_kernel(const __grid_constant__ SortByExpertParams p) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ int sort_memory[];
  __shared__ int of_warps[kWarps];
  const int experts = static_cast<int>(p.experts), columns = experts + 1, pairs = static_cast<int>(p.pairs);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, thread = threadIdx.x;
  const int rank = blockIdx.x % kBlocks, part = blockIdx.x / kBlocks;
  int *all_counts = sort_memory, *totals = sort_memory + kWarps * columns, *begins = totals + kBlocks * columns;
  int* counts = all_counts + warp * columns;
  cluster_arrive_started();
  for (int i = thread; i < kWarps * columns; i += kWarps * 32) all_counts[i] = 0;
  let_next_start();
  __syncthreads();
  wait_for_inputs();
  const int run = ((pairs + kBlocks * kWarps - 1) / (kBlocks * kWarps) + 31) / 32 * 32;
  const int begin = min((rank * kWarps + warp) * run, pairs), end = min(begin + run, pairs);
  int column[kRounds], nth[kRounds];  // of the lane's pairs: -1 behind the last; among the warp's of that column
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int pair = begin + i * 32 + lane;
    column[i] = pair < end ? column_of(p, pair) : -1;
  }
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    if (begin + i * 32 >= end) break;
    const unsigned same = __match_any_sync(~0u, column[i]), below = same & ((1u << lane) - 1);
    const int before = column[i] >= 0 ? counts[column[i]] : 0;
    nth[i] = before + __popc(below);
    __syncwarp();
    if (below == 0 && column[i] >= 0) counts[column[i]] = before + __popc(same);
    __syncwarp();
  }
  __syncthreads();
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");  // all blocks have started
  for (int c = thread; c < columns; c += kWarps * 32) {
    int sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; w += 8) {
      int each[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) each[i] = all_counts[(w + i) * columns + c];
#pragma unroll
      for (int i = 0; i < 8; ++i) all_counts[(w + i) * columns + c] = sum, sum += each[i];
    }
#pragma unroll
    for (int r = 0; r < kBlocks; ++r) {
      const uint32_t there = hopper::address_at(totals + rank * columns + c, r);
      asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(there), "r"(sum) : "memory");
    }
  }
  meet_cluster();
  // At most as many experts as threads; the padding's begin is what lies before it in blocks, behind all experts.
  int before = 0, total = 0;
  if (thread < experts) {
#pragma unroll
    for (int r = 0; r < kBlocks; ++r) {
      const int of = totals[r * columns + thread];
      before += r < rank ? of : 0, total += of;
    }
  }
  const int upto = warp_sum_up_to(total);
  if (lane == 31) of_warps[warp] = upto;
  __syncthreads();
  const int warps_upto = warp_sum_up_to(of_warps[lane]), all = __shfl_sync(~0u, warps_upto, 31);
  const int of_before = __shfl_sync(~0u, warps_upto, max(warp - 1, 0));
  const int offset = upto - total + (warp > 0 ? of_before : 0);
  if (thread < experts) {
    begins[thread] = offset + before;
    if (blockIdx.x == 0) p.offsets[thread] = offset;
  }
  if (thread == 0) {
    int padding = all;
    for (int r = 0; r < rank; ++r) padding += totals[r * columns + experts];
    begins[experts] = padding;
    if (blockIdx.x == 0) p.offsets[experts] = all;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    if (begin + i * 32 >= end) break;
    const int c = column[i];
    if (c >= 0 && i % kParts == part) write_row(p, begin + i * 32 + lane, c, begins[c] + counts[c] + nth[i]);
  }
#endif
}

}  // namespace mamba::cuda::expert_sort
