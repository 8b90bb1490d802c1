#pragma once
// cuda/quantized_ring.cuh with codes that stay codes (quantized_row.cuh), a version of it.
//
// Idea. There u4 waits for instructions. Here, too, an address that the loop needs is made once (`kept`), old outputs
// and the norm's weights are asked for before they are needed, and few copies are on their way at a time: a row that
// waits behind a whole ring comes two microseconds later.
//
// Layout. Shared memory: [stages][16] blocks of the weight; the row and its factors (quantized_row.cuh); sums
// [tiles][warps][16]; sums of squares [warps]; barriers, full and empty, of each stage.
//
// Mapping. A block of the launch has every so many-th tile, so that all of them read neighbouring memory. Warp w of 16
// takes block w of each stage, which is every sixteenth of the tiles' steps one after another; a last warp copies. When
// a tile is behind it, a warp puts its sums of the tile's 16 outputs into memory; all warps' are added at the end, in
// order. A place in the ring is free once its codes are in registers.
//
// Bound. Bytes. Not the op's yet: README.md has what an H200 said of it, and what it still has to show.
#include <algorithm>
#include <optional>

#include "cuda/dispatch.h"
#include "cuda/hopper.cuh"
#include "cuda/quantized_ring.cuh"
#include "lab/quantized_row.cuh"

namespace mamba::cuda::codes {

struct RowRingPlan {
  int stages, in_flight;                         // in_flight: copies
  uint32_t x, factors, sums, squares, barriers;  // where they begin; bytes
};

// A block's tiles: every gridDim.x-th.
struct TilesOfRing {
  int count;
  __device__ __forceinline__ explicit TilesOfRing(int64_t n) {
    const int all = static_cast<int>((n + kRows - 1) / kRows);
    count = (all - static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) - 1) / static_cast<int>(gridDim.x);
  }
  __device__ __forceinline__ int64_t number(int i) const { return blockIdx.x + int64_t{i} * gridDim.x; }
  __device__ __forceinline__ int64_t output(int i) const { return number(i / kRows) * kRows + i % kRows; }
};

// Copies a block's share of the weight: `steps` blocks of kBytes of each tile. By all lanes of the last warp.
template <int kBytes>
struct RingCopy {
  uint8_t* ring;
  uint64_t* full;
  const uint8_t* weight;
  TilesOfRing tiles;
  int steps, stages;
  int tile = 0, step = 0;  // the next to be copied

  __device__ __forceinline__ void copy(int i, int slot) {
    int left = min(kRingWarps, tiles.count * steps - i * kRingWarps);
    uint8_t* to = ring + slot * kRingWarps * kBytes;
    hopper::barrier_expect(full + slot, left * kBytes);
    while (left > 0) {
      const int run = min(left, steps - step);
      hopper::copy_bytes(to, weight + (tiles.number(tile) * steps + step) * kBytes, run * kBytes, full + slot,
                         hopper::kEvictFirst);
      to += run * kBytes, left -= run, step += run;
      if (step == steps) step = 0, ++tile;
    }
  }

  __device__ __forceinline__ void fill(int in_flight) {
    uint64_t* empty = full + stages;
    const bool first = threadIdx.x % 32 == 0;
    const int copies = (tiles.count * steps + kRingWarps - 1) / kRingWarps, ahead = min(in_flight, copies);
    if (first) {
      for (int i = 0; i < stages; ++i) hopper::barrier_init(full + i, 1), hopper::barrier_init(empty + i, kRingWarps);
      hopper::barrier_init_fence();
      hopper::fence_async();
      for (int i = 0; i < ahead; ++i) copy(i, i);
    }
    __syncthreads();
    if (!first) return;
    int slot = ahead % stages, phase = ahead == stages ? 0 : 1;  // of what is read from the place before
    int landed = 0, parity = 0;
    for (int i = ahead; i < copies; ++i) {
      if (i >= stages) hopper::barrier_wait(empty + slot, phase);
      if (in_flight < stages) {
        hopper::barrier_wait(full + landed, parity);
        if (++landed == stages) landed = 0, parity ^= 1;
      }
      copy(i, slot);
      if (++slot == stages) slot = 0, phase ^= 1;
    }
  }
};

// The row into shared memory. With X it is x w, and the thread's sum of squares of x is given.
template <class T, DType C, class X>
__device__ __forceinline__ float put_row_of_codes(uint8_t* row, float* factors, const LinearParams& p,
                                                  const RingNorm& norm) {
  constexpr int kAhead = 2;
  constexpr uint32_t kThreads = kRingWarps * 32;
  const uint32_t vectors = static_cast<uint32_t>(steps_of(p.k)) * (kStep / 8), k = static_cast<uint32_t>(p.k);
  float squares = 0;
  for (uint32_t first = threadIdx.x; first - threadIdx.x % 32 < vectors; first += kAhead * kThreads) {
    float values[kAhead][8] = {};
    [[maybe_unused]] float weights[kAhead][8] = {};
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const uint32_t at = (first + j * kThreads) * 8;
      if (at >= k) continue;
      if constexpr (std::is_void_v<X>) {
        unpack(load<8>(static_cast<const T*>(p.x) + at), values[j]);
      } else {
        unpack(load<8>(static_cast<const X*>(norm.x) + at), values[j]);
        unpack(load_constant<8>(norm.weight + at), weights[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const uint32_t v = first + j * kThreads;
      if (v - threadIdx.x % 32 >= vectors) break;
      if constexpr (!std::is_void_v<X>) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          squares = fmaf(values[j][i], values[j][i], squares);
          values[j][i] *= weights[j][i];
        }
      }
      put_values<C>(row, factors, v, values[j], v < vectors);
    }
  }
  return squares;
}

// X: the type of norm.x, or void without a norm. More registers would keep small kernels of the launches behind it
// from starting.
template <class T, DType C, class X>
__global__ void __maxnreg__(64)
    row_ring_kernel(const __grid_constant__ LinearParams p, const __grid_constant__ RingNorm norm,
                    const __grid_constant__ RowRingPlan plan) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) uint8_t ring_memory[];
  constexpr int kBytes = block_bytes(C), kStage = kRingWarps * kBytes;
  const int lane = threadIdx.x % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int steps = static_cast<int>(steps_of(p.k));
  const TilesOfRing tiles(p.n);
  auto* full = reinterpret_cast<uint64_t*>(ring_memory + plan.barriers);
  let_next_start();
  if (warp == kRingWarps) {
    if constexpr (!std::is_void_v<X>) {
      if (lane == 0) hopper::prefetch_l2(norm.weight, static_cast<uint32_t>(p.k) * 4);
    }
    RingCopy<kBytes> copy = {ring_memory, full, static_cast<const uint8_t*>(p.weight), tiles, steps, plan.stages};
    copy.fill(plan.in_flight);
    wait_for_inputs();
    return;
  }
  __syncthreads();  // barriers are ready
  wait_for_inputs();
  auto* factors = reinterpret_cast<float*>(ring_memory + plan.factors);
  auto* squares = reinterpret_cast<float*>(ring_memory + plan.squares);
  auto* sums = reinterpret_cast<float*>(ring_memory + plan.sums);
  const int outputs = tiles.count * kRows;
  float before = threadIdx.x < outputs ? load_out(p, 0, tiles.output(threadIdx.x)) : 0;
  [[maybe_unused]] float square = put_row_of_codes<T, C, X>(ring_memory + plan.x, factors, p, norm);
  if constexpr (!std::is_void_v<X>) {
    square = warp_sum(square);
    if (lane == 0) squares[warp] = square;
  }
  ring_warps_meet();

  {
    const LanePlaces<C> places;
    const uint32_t memory = hopper::shared_address(ring_memory);
    const uint32_t row_bytes = steps * kRowStep, factor_bytes = steps * factors_of(C) * 4;
    const uint32_t row_end = kept(memory + plan.x + places.x + row_bytes);
    uint32_t x_at = kept(memory + plan.x + places.x + warp * kRowStep);
    uint32_t factor_at = kept(memory + plan.factors + places.factor + warp * factors_of(C) * 4);
    const uint32_t first_codes = kept(memory + warp * kBytes + places.codes),
                   to_scales = kept(places.scales - places.codes);
    const uint32_t last_codes = kept(first_codes + plan.stages * kStage), first_full = kept(memory + plan.barriers);
    uint32_t codes = first_codes, barrier = first_full, phase = 0;
    const uint32_t first_sum = hopper::shared_address(sums + warp * kRows + lane / 4);
    uint32_t to = kept(first_sum);
    float acc[2] = {};
    const auto leave_tile = [&] {
      const float low = over_lanes<C>(acc[0]), high = over_lanes<C>(acc[1]);
      if (lane % 4 == 0) {
        asm volatile("st.shared.f32 [%0], %1;\nst.shared.f32 [%0 + 32], %2;" ::"r"(to), "f"(low), "f"(high) : "memory");
      }
      acc[0] = acc[1] = 0;
      to += kRingWarps * kRows * 4;
    };
    StepOfRow<C> x;
    for (int left = tiles.count * steps - warp; left > 0; left -= kRingWarps) {
      while (x_at >= row_end) leave_tile(), x_at -= row_bytes, factor_at -= factor_bytes;
      x.load(x_at, factor_at);
      wait_at(barrier, phase);
      BlockOfCodes<C> block;
      block.load(codes, codes + to_scales);
      __syncwarp();
      if (lane == 0) arrive_at(barrier + plan.stages * 8);
      block.multiply(acc, x);
      x_at += kRingWarps * kRowStep, factor_at += kRingWarps * factors_of(C) * 4, codes += kStage, barrier += 8;
      if (codes == last_codes) codes = first_codes, barrier = first_full, phase ^= 1;
    }
    while (to - first_sum < tiles.count * kRingWarps * kRows * 4u) leave_tile();
  }
  ring_warps_meet();
  for (int i = threadIdx.x; i < outputs; i += kRingWarps * 32) {
    const int64_t n = tiles.output(i);
    if (i >= kRingWarps * 32) before = load_out(p, 0, n);
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kRingWarps; ++w) sum += sums[(i / kRows * kRingWarps + w) * kRows + i % kRows];
    if constexpr (!std::is_void_v<X>) {
      float all = 0;
#pragma unroll
      for (int w = 0; w < kRingWarps; ++w) all += squares[w];
      sum *= rsqrtf(all / static_cast<float>(p.k) + norm.eps);
    }
    write_out(p, 0, n, p.alpha * sum + before);
  }
#endif
}

// --- launches -------------------------------------------------------------------------------------------------------
// What is tried: KB of a block's shared memory, bytes of the weight on their way.
struct RowRing {
  uint32_t kilobytes;
  int64_t in_flight = 64 << 10;
};

inline std::optional<RowRingPlan> row_ring_plan(const LinearParams& p, const RowRing& ring, const Context& context) {
  const bool takes = p.weight_dtype == DType::e4m3 || p.weight_dtype == DType::i8 || p.weight_dtype == DType::u4;
  if (p.m != 1 || !takes || !context.hopper() || p.x_dtype == DType::f32 || p.k % 8 != 0) return std::nullopt;
  const int64_t steps = steps_of(p.k), tiles = ceil_div(ceil_div(p.n, kRows), context.multiprocessors);
  const int64_t x = steps * kRowStep, factors = ceil_div(steps * factors_of(p.weight_dtype), 4) * 16;
  const int64_t sums = tiles * kRingWarps * kRows * 4, squares = kRingWarps * 4;
  const int64_t stage = kRingWarps * block_bytes(p.weight_dtype);
  const int64_t stages = ((int64_t{ring.kilobytes} << 10) - x - factors - sums - squares) / (stage + 16);
  if (stages < 2) return std::nullopt;
  RowRingPlan plan = {.stages = static_cast<int>(stages)};
  plan.in_flight = static_cast<int>(std::clamp<int64_t>(ring.in_flight / stage, 2, stages));
  plan.x = static_cast<uint32_t>(stages * stage);
  plan.factors = plan.x + static_cast<uint32_t>(x);
  plan.sums = plan.factors + static_cast<uint32_t>(factors);
  plan.squares = plan.sums + static_cast<uint32_t>(sums);
  plan.barriers = plan.squares + static_cast<uint32_t>(squares);
  return plan;
}

// False, with nothing launched, where the ring does not take it. X: the type of norm.x, or void without a norm.
template <class T, class X>
bool run_row_ring(const LinearParams& p, const RingNorm& norm, const RowRing& ring, Context& context) {
  const auto plan = row_ring_plan(p, ring, context);
  if (!plan) return false;
  const auto with = [&]<DType C>() {
    const auto kernel = row_ring_kernel<T, C, X>;
    check(prefer_l1(kernel, ring.kilobytes << 10, 1), "L1 for a product of one row");
    const auto blocks = static_cast<unsigned>(std::min<int64_t>(ceil_div(p.n, kRows), context.multiprocessors));
    launch(context, {.grid = blocks, .block = kRingThreads, .shared_bytes = ring.kilobytes << 10}, kernel, p, norm,
           *plan);
  };
  if (p.weight_dtype == DType::i8) with.template operator()<DType::i8>();
  if (p.weight_dtype == DType::e4m3) with.template operator()<DType::e4m3>();
  if (p.weight_dtype == DType::u4) with.template operator()<DType::u4>();
  return true;
}

}  // namespace mamba::cuda::codes
