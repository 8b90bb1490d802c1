// pack_state and unpack_state on CUDA.
//
// Idea. A thread has a column of a head: it goes down the channels once for the largest magnitude, and again for the
// codes, when they are in the L2 cache.
//
// Mapping. Threads side by side have columns side by side. Bound: bytes, once from memory and once to it; a copy to the
// host takes far longer.
#include <cmath>

#include "core/float_type.h"
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/packed_state.h"

namespace mamba::cuda {
namespace {

constexpr int kThreads = 64;

template <class T>
__global__ void __launch_bounds__(kThreads) pack_kernel(const __grid_constant__ PackStateParams p) {
  let_next_start();
  wait_for_inputs();
  const int64_t column = int64_t{blockIdx.y} * kThreads + threadIdx.x, head = blockIdx.x;
  if (column >= p.columns) return;
  const int64_t first = head * p.channels * p.columns + column;
  const T* state = static_cast<const T*>(p.state) + first;
  float most = 0;
  for (int64_t c = 0; c < p.channels; ++c) {
    const float magnitude = fabsf(as_float(state[c * p.columns]));
    if (magnitude > most || magnitude != magnitude) most = magnitude;  // a NaN stays
  }
  const float scale = isfinite(most) ? __fdiv_rn(most, kMostCode) : NAN;
  p.scales[head * p.columns + column] = scale;
  for (int64_t c = 0; c < p.channels; ++c) {
    const float code = scale > 0 ? rintf(__fdiv_rn(as_float(state[c * p.columns]), scale)) : 0;
    const float within = fminf(fmaxf(code, -kMostCode), kMostCode);
    p.codes[first + c * p.columns] = static_cast<uint8_t>(static_cast<int8_t>(within));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) unpack_kernel(const __grid_constant__ UnpackStateParams p) {
  let_next_start();
  wait_for_inputs();
  const int64_t column = int64_t{blockIdx.y} * kThreads + threadIdx.x, head = blockIdx.x;
  if (column >= p.columns) return;
  const int64_t first = head * p.channels * p.columns + column;
  const float scale = p.scales[head * p.columns + column];
  T* state = static_cast<T*>(p.state) + first;
  for (int64_t c = 0; c < p.channels; ++c) {
    state[c * p.columns] = rounded<T>(static_cast<float>(static_cast<int8_t>(p.codes[first + c * p.columns])) * scale);
  }
}

template <class Params>
LaunchShape shape_of(const Params& p) {
  return {.grid = {p.heads, ceil_div(p.columns, kThreads)}, .block = kThreads};
}

}  // namespace

void run_pack_state(const PackStateParams& p, Context& context) {
  with_float_type(p.dtype, [&](auto t) { launch(context, shape_of(p), pack_kernel<decltype(t)>, p); });
}

void run_unpack_state(const UnpackStateParams& p, Context& context) {
  with_float_type(p.dtype, [&](auto t) { launch(context, shape_of(p), unpack_kernel<decltype(t)>, p); });
}

}  // namespace mamba::cuda
