#pragma once
// The gates of the gated delta rule (ops/gdn.h), as its kernels for 128 keys and values compute them.
#include "cuda/vec.cuh"

namespace mamba::cuda::gdn {

inline constexpr int kDim = 128;  // of keys and of values

template <class T>
__device__ __forceinline__ float gate_value(T v) {
  if constexpr (__is_same(T, __nv_bfloat16)) {
    return __bfloat162float(v);
  } else if constexpr (__is_same(T, __half)) {
    return __half2float(v);
  } else {
    return as_float(v);
  }
}
template <class T>
__device__ __forceinline__ float load_gate(const void* from, DType type, int64_t i) {
  return type == DType::f32 ? static_cast<const float*>(from)[i] : gate_value(static_cast<const T*>(from)[i]);
}

__device__ __forceinline__ float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }
// How much of a value is written.
__device__ __forceinline__ float beta_of(float b) { return 1.0f / (1.0f + expf(-b)); }

}  // namespace mamba::cuda::gdn
