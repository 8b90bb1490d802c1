#pragma once
// Activations of floats on the device.
#include "cuda/vec.cuh"
#include "ops/activation.h"

namespace mamba::cuda {

template <Activation kActivation>
__device__ __forceinline__ float activated(float x) {
  if constexpr (kActivation == Activation::silu) return silu(x);
  if constexpr (kActivation == Activation::gelu) return 0.5f * x * erfcf(x * -0.70710678f);
  // x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
  if constexpr (kActivation == Activation::gelu_tanh) {
    return x * sigmoid(x * fmaf(x * x, 2 * 0.79788456f * 0.044715f, 2 * 0.79788456f));
  }
  if constexpr (kActivation == Activation::relu2) {
    const float positive = x < 0.0f ? 0.0f : x;
    return positive * positive;
  }
  if constexpr (kActivation == Activation::sigmoid) return sigmoid(x);
  return x;
}

// f.operator()<activation>().
template <class F>
__host__ __device__ __forceinline__ void with_activation(Activation activation, F&& f) {
  switch (activation) {
    case Activation::identity:
      return f.template operator()<Activation::identity>();
    case Activation::silu:
      return f.template operator()<Activation::silu>();
    case Activation::gelu:
      return f.template operator()<Activation::gelu>();
    case Activation::gelu_tanh:
      return f.template operator()<Activation::gelu_tanh>();
    case Activation::relu2:
      return f.template operator()<Activation::relu2>();
    case Activation::sigmoid:
      return f.template operator()<Activation::sigmoid>();
  }
}

}  // namespace mamba::cuda
