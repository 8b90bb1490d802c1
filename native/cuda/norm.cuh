#pragma once
// Kernels of rms_norm and gated_rms_norm; norm.cu chooses among them.
//
// Idea. A row (or a group of a row) is read once into registers, eight channels of a thread at a time; its squares are
// added by shuffles and, if it spans warps, through shared memory once; then it is scaled and written. The weights do
// not depend on the kernel before, so they are loaded before waiting for it.
//
// Mapping. blockDim.x threads along a row, each with V vectors of eight channels, blockDim.x apart. A row of one warp
// shares its block with blockDim.y - 1 others.
//
// Bound. Bytes: x and out, the residual twice, or x, gate and out. For few rows the latency of one load, one reduction
// and one store.
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/norm.h"

namespace mamba::cuda {

constexpr int kNormVec = 8;
constexpr unsigned kNormThreads = 512;  // more than 8 vectors a thread spill under its bound

// Threads along a row of `width` channels, whole warps, with V vectors each.
inline unsigned norm_threads(int64_t width, int vectors) {
  return static_cast<unsigned>((width / kNormVec + vectors * 32 - 1) / (vectors * 32) * 32);
}

// Partial sums of a row's warps; the rest are zeros, so that they are added without a loop of unknown length (0.5 us
// for ten warps).
struct alignas(16) WarpSums {
  float of[kNormThreads / 32];

  // Before wait_for_inputs(), where it is hidden.
  __device__ __forceinline__ void clear() {
    if (blockDim.x == 32) return;
    if (threadIdx.x < kNormThreads / 32) of[threadIdx.x] = 0;
    __syncthreads();
  }
  // The sum over the blockDim.x threads of a row, the same in each of them. Rows of several warps are alone in a block.
  __device__ __forceinline__ float add(float x) {
    x = warp_sum(x);
    if (blockDim.x == 32) return x;
    if (threadIdx.x % 32 == 0) of[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (unsigned i = 0; i < kNormThreads / 32; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(of + i);
      sum += (four.x + four.y) + (four.z + four.w);
    }
    return sum;
  }
};

__device__ __forceinline__ int norm_channel(int vector) {
  return (vector * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * kNormVec;
}

template <int V>
__device__ __forceinline__ void load_weights(const float* weight, float (&to)[V][kNormVec], int width) {
#pragma unroll
  for (int i = 0; i < V; ++i) {
    if (norm_channel(i) < width) unpack(load_constant<kNormVec>(weight + norm_channel(i)), to[i]);
  }
}

template <class O, int V>
__device__ __forceinline__ void scale_and_store(O* out, float (&values)[V][kNormVec], float (&weights)[V][kNormVec],
                                                float scale, int width) {
#pragma unroll
  for (int i = 0; i < V; ++i) {
    if (norm_channel(i) >= width) break;
#pragma unroll
    for (int k = 0; k < kNormVec; ++k) values[i][k] *= scale * weights[i][k];
    store<kNormVec>(out + norm_channel(i), pack<O, kNormVec>(values[i]));
  }
}

// R is void without a residual. `Early`: weights are loaded before the row, for a start ahead of the kernel before;
// else when the row's sum is known, from the L2 and with fewer registers.
template <class X, class R, class O, int V, bool Early>
__global__ void __launch_bounds__(kNormThreads) rms_norm_kernel(const __grid_constant__ RmsNormParams p) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int width = static_cast<int>(p.width);
  const bool inside = row < p.rows;
  float weights[V][kNormVec], values[V][kNormVec];
  __shared__ WarpSums sums;
  let_next_start();
  if constexpr (Early) load_weights(p.weight, weights, width);
  sums.clear();
  wait_for_inputs();
  float squares = 0;
  if (inside) {
    const X* x = static_cast<const X*>(p.x) + row * p.x_stride;
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (norm_channel(i) < width) unpack(load<kNormVec>(x + norm_channel(i)), values[i]);
    }
    if constexpr (!std::is_void_v<R>) {
      R* residual = static_cast<R*>(p.residual) + row * p.width;
      Vec<R, kNormVec> old[V];
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if (norm_channel(i) < width) old[i] = load<kNormVec>(residual + norm_channel(i));
      }
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if (norm_channel(i) >= width) break;
        float before[kNormVec];
        unpack(old[i], before);
#pragma unroll
        for (int k = 0; k < kNormVec; ++k) values[i][k] += before[k];
        const Vec<R, kNormVec> updated = pack<R, kNormVec>(values[i]);
        unpack(updated, values[i]);  // as rounded
        store<kNormVec>(residual + norm_channel(i), updated);
      }
    }
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (norm_channel(i) >= width) break;
#pragma unroll
      for (int k = 0; k < kNormVec; ++k) squares = fmaf(values[i][k], values[i][k], squares);
    }
  }
  const float sum = sums.add(squares);
  if (!inside) return;
  if constexpr (!Early) load_weights(p.weight, weights, width);
  const float scale = rsqrtf(sum / static_cast<float>(width) + p.eps);
  scale_and_store(static_cast<O*>(p.out) + row * p.width, values, weights, scale, width);
}

// blockIdx.y is the group.
template <class T, int V, bool Early>
__global__ void __launch_bounds__(kNormThreads) gated_rms_norm_kernel(const __grid_constant__ GatedRmsNormParams p) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int width = static_cast<int>(p.group_size);
  const int64_t first = int64_t{blockIdx.y} * width;
  const bool inside = row < p.rows;
  float weights[V][kNormVec], values[V][kNormVec];
  Vec<T, kNormVec> gates[V];
  __shared__ WarpSums sums;
  let_next_start();
  if constexpr (Early) load_weights(p.weight + first, weights, width);
  sums.clear();
  wait_for_inputs();
  float squares = 0;
  if (inside) {
    const T* x = static_cast<const T*>(p.x) + row * p.x_stride + first;
    const T* gate = static_cast<const T*>(p.gate) + row * p.gate_stride + first;
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (norm_channel(i) < width) gates[i] = load<kNormVec>(gate + norm_channel(i));
    }
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (norm_channel(i) < width) unpack(load<kNormVec>(x + norm_channel(i)), values[i]);
    }
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (norm_channel(i) >= width) break;
      float z[kNormVec];
      unpack(gates[i], z);
#pragma unroll
      for (int k = 0; k < kNormVec; ++k) {
        if (!p.norm_before_gate) values[i][k] *= silu(z[k]);
        squares = fmaf(values[i][k], values[i][k], squares);
      }
    }
  }
  const float sum = sums.add(squares);
  if (!inside) return;
  if constexpr (!Early) load_weights(p.weight + first, weights, width);
  if (p.norm_before_gate) {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (norm_channel(i) >= width) break;
      float z[kNormVec];
      unpack(gates[i], z);
#pragma unroll
      for (int k = 0; k < kNormVec; ++k) values[i][k] *= silu(z[k]);
    }
  }
  const float scale = rsqrtf(sum / static_cast<float>(width) + p.eps);
  scale_and_store(static_cast<T*>(p.out) + row * p.width + first, values, weights, scale, width);
}

inline constexpr int kGroupsThreads = 256;

// Many groups of 8 L channels: L lanes have one, and R of them, all of whose loads are in flight together.
template <class T, int L, int R>
__global__ void __launch_bounds__(kGroupsThreads)
    gated_rms_norm_groups_kernel(const __grid_constant__ GatedRmsNormParams p) {
  constexpr int kUnits = kGroupsThreads / L;  // of a block at once
  const auto groups = static_cast<uint32_t>(p.width / p.group_size);
  const uint32_t units = static_cast<uint32_t>(p.rows) * groups, channel = threadIdx.x % L * kNormVec;
  const uint32_t first = blockIdx.x * (kUnits * R) + threadIdx.x / L;
  let_next_start();
  wait_for_inputs();
  Vec<T, kNormVec> gates[R], rows[R];
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const uint32_t unit = min(first + i * kUnits, units - 1), at = unit % groups * (8 * L) + channel;
    gates[i] = load<kNormVec>(static_cast<const T*>(p.gate) + int64_t{unit / groups} * p.gate_stride + at);
    rows[i] = load<kNormVec>(static_cast<const T*>(p.x) + int64_t{unit / groups} * p.x_stride + at);
  }
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const uint32_t unit = first + i * kUnits, at = unit % groups * (8 * L) + channel;
    float values[1][kNormVec], z[kNormVec], weights[1][kNormVec], squares = 0;
    unpack(rows[i], values[0]), unpack(gates[i], z);
#pragma unroll
    for (int k = 0; k < kNormVec; ++k) {
      z[k] = silu(z[k]);
      if (!p.norm_before_gate) values[0][k] *= z[k];
      squares = fmaf(values[0][k], values[0][k], squares);
      if (p.norm_before_gate) values[0][k] *= z[k];
    }
#pragma unroll
    for (int distance = L / 2; distance > 0; distance /= 2) squares += __shfl_xor_sync(~0u, squares, distance);
    if (unit >= units) continue;  // whole groups of lanes, which meet those of their own only
    unpack(load_constant<kNormVec>(p.weight + at), weights[0]);
    const float scale = rsqrtf(squares / static_cast<float>(8 * L) + p.eps);
#pragma unroll
    for (int k = 0; k < kNormVec; ++k) values[0][k] *= scale * weights[0][k];
    store<kNormVec>(static_cast<T*>(p.out) + int64_t{unit / groups} * p.width + at, pack<T, kNormVec>(values[0]));
  }
}

}  // namespace mamba::cuda
