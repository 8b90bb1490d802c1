#pragma once
// What memory-bound kernels share on the device: vectors of 1 to 8 elements moved as whole words, and their floats.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/dtype.h"

namespace mamba::cuda {

template <int Bytes>
struct Word;
template <>
struct Word<2> {
  using type = uint16_t;
};
template <>
struct Word<4> {
  using type = uint32_t;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};

// V elements of T as they lie in memory. More than 16 bytes take several accesses.
template <class T, int V>
struct alignas(V * sizeof(T) < 16 ? V * sizeof(T) : 16) Vec {
  static constexpr int kBytes = V * static_cast<int>(sizeof(T));
  static constexpr int kWordBytes = kBytes < 16 ? kBytes : 16;
  static constexpr int kWords = kBytes / kWordBytes;
  using W = typename Word<kWordBytes>::type;
  using Pair = typename Word < kBytes<4 ? 2 : 4>::type;
  union {
    W words[kWords];
    T elements[V];
    Pair pairs[(kBytes + 3) / 4];
  };
};

template <int V, class T>
__device__ __forceinline__ Vec<T, V> load(const T* from) {
  Vec<T, V> v;
  using W = typename Vec<T, V>::W;
#pragma unroll
  for (int i = 0; i < Vec<T, V>::kWords; ++i) v.words[i] = reinterpret_cast<const W*>(from)[i];
  return v;
}

// For memory that nothing writes while the kernel runs.
template <int V, class T>
__device__ __forceinline__ Vec<T, V> load_constant(const T* from) {
  Vec<T, V> v;
  using W = typename Vec<T, V>::W;
#pragma unroll
  for (int i = 0; i < Vec<T, V>::kWords; ++i) v.words[i] = __ldg(reinterpret_cast<const W*>(from) + i);
  return v;
}

template <int V, class T>
__device__ __forceinline__ void store(T* to, const Vec<T, V>& v) {
  using W = typename Vec<T, V>::W;
#pragma unroll
  for (int i = 0; i < Vec<T, V>::kWords; ++i) reinterpret_cast<W*>(to)[i] = v.words[i];
}

template <class T, int V>
__device__ __forceinline__ Vec<T, V> zeros() {
  Vec<T, V> v;
  memset(&v, 0, sizeof(v));
  return v;
}

__device__ __forceinline__ float as_float(float x) { return x; }
__device__ __forceinline__ float as_float(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
__device__ __forceinline__ float as_float(f16 x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ __forceinline__ float as_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float as_float(__half x) { return __half2float(x); }

template <class T>
__device__ __forceinline__ T rounded(float x);
template <>
__device__ __forceinline__ float rounded<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 rounded<bf16>(float x) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}
template <>
__device__ __forceinline__ f16 rounded<f16>(float x) {
  return {__half_as_ushort(__float2half_rn(x))};
}

// Element i of an array whose type is known when the kernel runs: for general kernels, where nothing is tuned.
__device__ __forceinline__ float load_any(const void* from, DType type, int64_t i) {
  if (type == DType::f32) return static_cast<const float*>(from)[i];
  if (type == DType::bf16) return as_float(static_cast<const bf16*>(from)[i]);
  return as_float(static_cast<const f16*>(from)[i]);
}

__device__ __forceinline__ void store_any(void* to, DType type, int64_t i, float value) {
  if (type == DType::f32) {
    static_cast<float*>(to)[i] = value;
  } else if (type == DType::bf16) {
    static_cast<bf16*>(to)[i] = rounded<bf16>(value);
  } else {
    static_cast<f16*>(to)[i] = rounded<f16>(value);
  }
}

template <class T, int V>
__device__ __forceinline__ void unpack(const Vec<T, V>& v, float (&to)[V]) {
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < V; ++i) to[i] = __uint_as_float(v.pairs[i]);
  } else if constexpr (V == 1) {
    to[0] = as_float(v.elements[0]);
  } else {
#pragma unroll
    for (int i = 0; i < V / 2; ++i) {
      if constexpr (std::is_same_v<T, bf16>) {
        to[2 * i] = __uint_as_float(v.pairs[i] << 16);
        to[2 * i + 1] = __uint_as_float(v.pairs[i] & 0xffff0000u);
      } else {
        const float2 f = __half22float2(*reinterpret_cast<const __half2*>(&v.pairs[i]));
        to[2 * i] = f.x;
        to[2 * i + 1] = f.y;
      }
    }
  }
}

template <class T, int V>
__device__ __forceinline__ Vec<T, V> pack(const float (&from)[V]) {
  Vec<T, V> v;
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < V; ++i) v.pairs[i] = __float_as_uint(from[i]);
  } else if constexpr (V == 1) {
    v.elements[0] = rounded<T>(from[0]);
  } else {
#pragma unroll
    for (int i = 0; i < V / 2; ++i) {
      if constexpr (std::is_same_v<T, bf16>) {
        const __nv_bfloat162 two = __floats2bfloat162_rn(from[2 * i], from[2 * i + 1]);
        v.pairs[i] = *reinterpret_cast<const uint32_t*>(&two);
      } else {
        const __half2 two = __floats2half2_rn(from[2 * i], from[2 * i + 1]);
        v.pairs[i] = *reinterpret_cast<const uint32_t*>(&two);
      }
    }
  }
  return v;
}

// Over a whole warp; the same in all lanes.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}
// Over the lanes up to this one.
__device__ __forceinline__ int warp_sum_up_to(int value) {
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(~0u, value, step);
    if (static_cast<int>(threadIdx.x) % 32 >= step) value += other;
  }
  return value;
}

inline constexpr float kLog2e = 1.4426950408889634f;

// Flushing subnormals saves the six instructions with which the compiler guards their ranges.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float fast_log2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float fast_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// exp2 overflows to infinity at x < -88, and the result is then 0 (of silu -0).
__device__ __forceinline__ float sigmoid(float x) { return fast_reciprocal(1.0f + fast_exp2(x * -kLog2e)); }
__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }

}  // namespace mamba::cuda
