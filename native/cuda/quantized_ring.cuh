#pragma once
// Products of one row of x with a large weight of codes, which the copy engine brings into a ring (Hopper).
//
// Idea. quantized_linear.cuh's products in blocks that are all resident: one for each multiprocessor, which walks over
// its tiles without a break. Tiles follow each other in memory, so a block's share of the weight is one run of bytes,
// and one thread keeps copies of 16 blocks of it under way. The ring is full before the inputs come: in a chain that
// hides what the launch ahead leaves of the memory's time. With `norm` a block multiplies the row by the norm's weights
// and adds up its squares as it stores it, and divides its sums by the root mean square: norm(x) W^T = (x w) W^T /
// rms(x), which saves a launch.
//
// Layout. Shared memory: [stages][16] blocks of the weight (codes.cuh); the row, with zeros up to a whole step; sums
// [tiles][warps][16]; sums of squares [warps]; barriers, full and empty, of each stage.
//
// Mapping. Warp w of 16 takes block w of each stage, which is every sixteenth of the tiles' steps one after another; a
// last warp copies. All eight columns of a product are the one row. When a tile is behind it, a warp puts its sums of
// the tile's 16 outputs into memory; all warps' are added at the end, in order.
//
// One block of a launch to a multiprocessor: it takes more than half of its shared memory. Two of them on one while
// others have none cost half of a product's time, and happen in chains wherever two fit, when the blocks of small
// kernels end unevenly. Nor much more memory than that: the loads of small kernels want the L1.
//
// Bound. Bytes, as there. Measured on an H200 in chains of 7b's layers with stand-ins for small kernels, us of a layer
// by quantized_linear.cuh, with a ring, and with the norm before in_proj in it: e4m3 39.5, 36.1, 34.6; u4 38.0, 32.6,
// 32.4; u4 with out_proj in i8 40.1, 34.6, 33.8. A whole step of codestral-7b: e4m3 2.67 and 2.45 ms, u4 and i8 2.72
// and 2.27. Alone a product of 4096 -> 18560 takes 1 to 2 us less than there, one of 8192 -> 4096 as long. With four
// rows it loses. The rest is in native/lab/README.md.
#include "cuda/hopper.cuh"
#include "cuda/quantized_linear.cuh"

namespace mamba::cuda::codes {

constexpr int kRingWarps = 16, kRingThreads = kRingWarps * 32 + 32;

struct RingPlan {
  int stages;
  uint32_t x, sums, squares, barriers;  // where they begin; bytes
};

// The row that is yet to be normed: in place of LinearParams::x.
struct RingNorm {
  const void* x = nullptr;        // [k]
  const float* weight = nullptr;  // [k]
  float eps = 0;
};

// A lane's operands of a step of the row.
struct StepInShared {
  const uint8_t* at;
  __device__ __forceinline__ uint4 part(int, int s) const { return *reinterpret_cast<const uint4*>(at + s * 64); }
};

// The warps that multiply meet here, without the one that copies.
__device__ __forceinline__ void ring_warps_meet() { asm volatile("bar.sync 1, %0;" ::"n"(kRingWarps * 32) : "memory"); }

// Copies a block's share of the weight, `count` blocks of `bytes` each. By all lanes of the last warp.
__device__ __forceinline__ void fill_ring(uint8_t* ring, uint64_t* full, const uint8_t* weight, int count, int bytes,
                                          int stages) {
  uint64_t* empty = full + stages;
  const bool first = threadIdx.x % 32 == 0;
  const int copies = (count + kRingWarps - 1) / kRingWarps;
  const auto copy = [&](int i, int slot) {
    const int size = min(kRingWarps, count - i * kRingWarps) * bytes;
    hopper::barrier_expect(full + slot, size);
    hopper::copy_bytes(ring + slot * kRingWarps * bytes, weight + int64_t{i} * kRingWarps * bytes, size, full + slot,
                       hopper::kEvictFirst);
  };
  if (first) {
    for (int i = 0; i < stages; ++i) hopper::barrier_init(full + i, 1), hopper::barrier_init(empty + i, kRingWarps);
    hopper::barrier_init_fence();
    hopper::fence_async();
    for (int i = 0; i < min(stages, copies); ++i) copy(i, i);
  }
  __syncthreads();
  if (first) {
    for (int i = stages, slot = 0, phase = 0; i < copies; ++i) {
      hopper::barrier_wait(empty + slot, phase);
      copy(i, slot);
      if (++slot == stages) slot = 0, phase ^= 1;
    }
  }
}

// The row into shared memory as T. With X it is x w, and the thread's sum of squares of x is given.
template <class T, class X>
__device__ __forceinline__ float put_row(uint8_t* to, const LinearParams& p, const RingNorm& norm) {
  float squares = 0;
  for (int v = threadIdx.x; v < static_cast<int>(steps_of(p.k)) * (kStep / 8); v += kRingWarps * 32) {
    const int k = v * 8;
    uint4 words = {0, 0, 0, 0};
    if (k < p.k) {
      if constexpr (std::is_void_v<X>) {
        words = static_cast<const uint4*>(p.x)[v];
      } else {
        float values[8], factors[8];
        unpack(load<8>(static_cast<const X*>(norm.x) + k), values);
        unpack(load_constant<8>(norm.weight + k), factors);
#pragma unroll
        for (int i = 0; i < 8; ++i) squares = fmaf(values[i], values[i], squares), values[i] *= factors[i];
        words = pack<T, 8>(values).words[0];
      }
    }
    reinterpret_cast<uint4*>(to)[v] = words;
  }
  return squares;
}

// X: the type of norm.x, or void without a norm.
template <class T, DType C, class X>
__global__ void __launch_bounds__(kRingThreads, 1)
    ring_kernel(const __grid_constant__ LinearParams p, const __grid_constant__ RingNorm norm,
                const __grid_constant__ RingPlan plan) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) uint8_t ring_memory[];
  constexpr int kBytes = block_bytes(C);
  const int lane = threadIdx.x % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int steps = static_cast<int>(steps_of(p.k));
  const TilesOfBlock own(p.n);
  const int count = own.count * steps;
  auto* full = reinterpret_cast<uint64_t*>(ring_memory + plan.barriers);
  let_next_start();
  if (warp == kRingWarps) {
    const uint8_t* weight = static_cast<const uint8_t*>(p.weight) + int64_t{own.first} * steps * kBytes;
    fill_ring(ring_memory, full, weight, count, kBytes, plan.stages);
    wait_for_inputs();
    return;
  }
  __syncthreads();  // barriers are ready
  wait_for_inputs();
  uint8_t* row = ring_memory + plan.x;
  auto* squares = reinterpret_cast<float*>(ring_memory + plan.squares);
  [[maybe_unused]] float square = put_row<T, X>(row, p, norm);
  if constexpr (!std::is_void_v<X>) {
    square = warp_sum(square);
    if (lane == 0) squares[warp] = square;
  }
  ring_warps_meet();

  auto* sums = reinterpret_cast<float*>(ring_memory + plan.sums);
  float acc[1][1][4] = {};
  int tile = 0, step = warp;
  const auto leave_tile = [&] {
    float* to = sums + (tile * kRingWarps + warp) * kRows + lane / 4;
    if (lane % 4 == 0) to[0] = acc[0][0][0], to[8] = acc[0][0][2];  // of the first column
    acc[0][0][0] = acc[0][0][1] = acc[0][0][2] = acc[0][0][3] = 0;
    ++tile;
  };
  for (int first = 0, slot = 0, phase = 0; first < count; first += kRingWarps) {
    hopper::barrier_wait(full + slot, phase);
    if (first + warp < count) {
      for (; step >= steps; step -= steps) leave_tile();
      BlockRegisters<C> block[1];
      block[0].template load<true>(ring_memory + (slot * kRingWarps + warp) * kBytes);
      multiply_block<T, C, 1, 1>(acc, block, StepInShared{row + step * kStep * 2 + lane % 4 * 16});
      step += kRingWarps;
    }
    __syncwarp();
    if (lane == 0) hopper::barrier_arrive(full + plan.stages + slot);
    if (++slot == plan.stages) slot = 0, phase ^= 1;
  }
  while (tile < own.count) leave_tile();
  ring_warps_meet();
  for (int i = threadIdx.x; i < own.count * kRows; i += kRingWarps * 32) {
    const int64_t n = int64_t{own.first} * kRows + i;
    const float before = load_out(p, 0, n);
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

}  // namespace mamba::cuda::codes
