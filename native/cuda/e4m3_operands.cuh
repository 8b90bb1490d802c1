#pragma once
// Operands of the library's products of e4m3 codes: rows of x, quantized, and rows of a weight (codes.cuh) in the
// library's order. Both are row-major, a row as long as all steps of k: what lies beyond k is zeros.
//
// Scales. x has one of a row, or of each step (128 of k): the largest of the values becomes 448, the largest code.
// Those of steps are [steps][rows], as the library wants them. Of the weight, by what they are shared by
// (gemm_plans.h).
//
// Bound. Bytes: x is read twice, of which the second comes from a cache, and half as much is written; the codes of a
// weight are read and written once.
#include <cuda_fp8.h>

#include "cuda/codes.cuh"
#include "cuda/gemm_plans.h"
#include "cuda/launch.cuh"

namespace mamba::cuda::codes {

// A block that quantizes rows of x; each thread takes eight values at a time, so a step of k is half a warp's.
constexpr int kQuantizeThreads = 256, kStepThreads = kStep / 8, kQuantizeSteps = kQuantizeThreads / kStepThreads;

struct RowsAsCodes {
  const void* x;  // [rows, k], row stride x_stride; both multiples of eight
  int64_t x_stride, rows, k;
  uint8_t* codes;  // [rows, steps * kStep]
  float* scales;
};

template <class T>
__device__ __forceinline__ float largest(const Vec<T, 8>& v) {
  float most = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) most = fmaxf(most, fabsf(as_float(v.elements[i])));
  return most;
}

// A NaN stays one; so does an infinity, whose scale it is: 0 times that.
__device__ __forceinline__ float scale_of(float most) { return most > 0 ? fmaxf(most / 448, 0x1p-100f) : 1.0f; }

template <class T>
__device__ __forceinline__ uint2 codes_of(const Vec<T, 8>& v, float inverse) {
  uint16_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = {as_float(v.elements[2 * i]) * inverse, as_float(v.elements[2 * i + 1]) * inverse};
    pairs[i] = __nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3);
  }
  return {pairs[0] | uint32_t{pairs[1]} << 16, pairs[2] | uint32_t{pairs[3]} << 16};
}

// The scale of the codes of a row x [k], found by a block.
template <class T>
__device__ __forceinline__ float scale_of_row(const T* x, int k) {
  __shared__ float most_of[kQuantizeThreads / 32];
  float most = 0;
  for (int i = threadIdx.x * 8; i < k; i += kQuantizeThreads * 8) most = fmaxf(most, largest(load<8>(x + i)));
  most = warp_max(most);
  if (threadIdx.x % 32 == 0) most_of[threadIdx.x / 32] = most;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kQuantizeThreads / 32; ++warp) most = fmaxf(most, most_of[warp]);
  return scale_of(most);
}

// A block for each row, eight values for a thread at a time.
template <class T>
__global__ void __launch_bounds__(kQuantizeThreads) quantize_rows_kernel(const __grid_constant__ RowsAsCodes p) {
  const int width = static_cast<int>(steps_of(p.k)) * kStep, k = static_cast<int>(p.k);
  const T* x = static_cast<const T*>(p.x) + blockIdx.x * p.x_stride;
  uint8_t* codes = p.codes + int64_t{blockIdx.x} * width;
  let_next_start();
  wait_for_inputs();
  const float scale = scale_of_row(x, k), inverse = 1 / scale;
  if (threadIdx.x == 0) p.scales[blockIdx.x] = scale;
  for (int i = threadIdx.x * 8; i < width; i += kQuantizeThreads * 8) {
    *reinterpret_cast<uint2*>(codes + i) = i < k ? codes_of(load<8>(x + i), inverse) : uint2{0, 0};
  }
}

// Half a warp for each step of a row.
template <class T>
__global__ void __launch_bounds__(kQuantizeThreads) quantize_steps_kernel(const __grid_constant__ RowsAsCodes p) {
  const int64_t steps = steps_of(p.k), i = int64_t{blockIdx.x} * kQuantizeSteps + threadIdx.x / kStepThreads;
  const int64_t row = i / steps, step = i % steps, at = step * kStep + threadIdx.x % kStepThreads * 8;
  const bool inside = row < p.rows && at < p.k;
  let_next_start();
  wait_for_inputs();
  Vec<T, 8> v = {};
  if (inside) v = load<8>(static_cast<const T*>(p.x) + row * p.x_stride + at);
  float most = largest(v);
#pragma unroll
  for (int offset = kStepThreads / 2; offset > 0; offset /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, offset));
  if (row >= p.rows) return;
  const float scale = scale_of(most);
  if (threadIdx.x % kStepThreads == 0) p.scales[step * p.rows + row] = scale;
  *reinterpret_cast<uint2*>(p.codes + row * steps * kStep + at) = codes_of(v, 1 / scale);
}

struct RowsOfWeight {
  const uint8_t* blocks;  // from a tile of rows on
  int64_t rows, steps;
  uint8_t* codes;  // [rows, steps * kStep]
  float* scales;
  CodeScales::Share share;
};

constexpr int kOrderWarps = 8;

// A warp for each block: a lane has 16 codes of a load, eight of each 32 of k, whose middle pairs change places.
__global__ void __launch_bounds__(kOrderWarps * 32) rows_of_weight_kernel(const __grid_constant__ RowsOfWeight p) {
  constexpr int kBlockBytes = block_bytes(DType::e4m3);
  const int64_t i = int64_t{blockIdx.x} * kOrderWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int64_t tile = i / p.steps, step = i % p.steps;
  const uint8_t* block = p.blocks + i * kBlockBytes;
  const bool exists = tile * kRows < p.rows;
  let_next_start();
  uint4 loads[4];
  if (exists) {
#pragma unroll
    for (int l = 0; l < 4; ++l) loads[l] = __ldcs(reinterpret_cast<const uint4*>(block + l * 512) + lane);
  }
  wait_for_inputs();
  if (!exists) return;
  const auto ordered = [](uint32_t word) { return __byte_perm(word, 0, 0x3120); };
#pragma unroll
  for (int l = 0; l < 4; ++l) {
    const int64_t row = tile * kRows + l / 2 * 8 + lane / 4;
    if (row >= p.rows) continue;
    uint8_t* to = p.codes + (row * p.steps + step) * kStep + l % 2 * 64 + lane % 4 * 8;
    *reinterpret_cast<uint2*>(to) = {ordered(loads[l].x), ordered(loads[l].y)};
    *reinterpret_cast<uint2*>(to + 32) = {ordered(loads[l].z), ordered(loads[l].w)};
  }
  const int64_t row = tile * kRows + lane;
  if (lane >= kRows || row >= p.rows) return;
  const float scale = reinterpret_cast<const float*>(block + code_bytes_of(DType::e4m3))[lane];
  if (p.share == CodeScales::Share::groups) {
    p.scales[step * p.rows + row] = scale;
  } else if (p.share == CodeScales::Share::rows) {
    if (step == 0) p.scales[row] = scale;
  } else if (row % 128 == 0) {
    p.scales[row / 128 * ((p.steps + 3) / 4 * 4) + step] = scale;
  }
}

}  // namespace mamba::cuda::codes
