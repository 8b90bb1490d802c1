#pragma once
// The gates of the gated delta rule (ops/gdn.h), as its kernels for 128 keys and values compute them.
#include "cuda/vec.cuh"

namespace mamba::cuda::gdn {

inline constexpr int kDim = 128;  // of keys and of values

template <class T>
__device__ __forceinline__ float load_gate(const void* from, DType type, int64_t i) {
  return type == DType::f32 ? static_cast<const float*>(from)[i] : as_float(static_cast<const T*>(from)[i]);
}

__device__ __forceinline__ float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }
// How much of a value is written.
__device__ __forceinline__ float beta_of(float b) { return 1.0f / (1.0f + expf(-b)); }

}  // namespace mamba::cuda::gdn
