// activation and scale on CUDA: one pass over the elements.
//
// Mapping. A thread has eight neighbouring columns of a row, 16 bytes of a 16-bit type, where rows start on that many;
// one column otherwise. The function is chosen once for all eight. Bound. Bytes: each operand once.
#include <algorithm>

#include "core/float_type.h"
#include "cuda/activation.cuh"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/launch.cuh"

namespace mamba::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVec = 8;

// The row and the first column of a thread.
template <int V>
struct Place {
  int64_t row, column;
  __device__ __forceinline__ explicit Place(int64_t width) {
    const uint32_t pieces = static_cast<uint32_t>((width + V - 1) / V), i = blockIdx.x * kThreads + threadIdx.x;
    row = i / pieces, column = int64_t{i % pieces} * V;
  }
};

template <class T, class O, int V>
__global__ void __launch_bounds__(kThreads) activation_kernel(const __grid_constant__ ActivationParams p) {
  let_next_start();
  const Place<V> at(p.width);
  wait_for_inputs();
  if (at.row >= p.rows) return;
  float v[V], up[V];
  const T* x = static_cast<const T*>(p.x) + at.row * p.x_stride;
  if (p.broadcast) {
#pragma unroll
    for (int i = 0; i < V; ++i) v[i] = as_float(x[0]);
  } else {
    unpack(load<V>(x + at.column), v);
  }
  if (p.up) unpack(load<V>(static_cast<const T*>(p.up) + at.row * p.up_stride + at.column), up);
  with_activation(p.activation, [&]<Activation kActivation> {
#pragma unroll
    for (int i = 0; i < V; ++i) v[i] = activated<kActivation>(v[i] * p.scale);
  });
  if (p.up) {
#pragma unroll
    for (int i = 0; i < V; ++i) v[i] *= up[i];
  }
  store(static_cast<O*>(p.out) + at.row * p.out_stride + at.column, pack<O, V>(v));
}

template <class T, class O, int V>
__global__ void __launch_bounds__(kThreads) scale_kernel(const __grid_constant__ ScaleParams p) {
  let_next_start();
  const Place<V> at(p.width);
  wait_for_inputs();
  if (at.row >= p.rows) return;
  float v[V], before[V] = {};
  O* out = static_cast<O*>(p.out) + at.row * p.out_stride + at.column;
  unpack(load<V>(static_cast<const T*>(p.x) + at.row * p.x_stride + at.column), v);
  if (p.accumulate) unpack(load<V>(out), before);
#pragma unroll
  for (int i = 0; i < V; ++i) v[i] = fmaf(v[i], p.alpha, before[i]);
  store(out, pack<O, V>(v));
}

// launch_rows(rows of a launch, its first row, blocks), as many as 32-bit indices reach.
template <class Launch>
void cut_rows(int64_t rows, int64_t width, int v, Launch&& launch_rows) {
  const int64_t pieces = ceil_div(width, v), most = std::max<int64_t>(1, (int64_t{1} << 31) / pieces);
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    launch_rows(first, count, ceil_div(count * pieces, kThreads));
  }
}

const void* moved(const void* p, int64_t elements, DType type) {
  return p ? static_cast<const char*>(p) + elements * static_cast<int64_t>(size_of(type)) : nullptr;
}
void* moved(void* p, int64_t elements, DType type) {
  return static_cast<char*>(p) + elements * static_cast<int64_t>(size_of(type));
}

}  // namespace

void run_activation(const ActivationParams& params, Context& context) {
  const bool wide = params.width % kVec == 0 && (params.broadcast || rows_of_eights(params.x, params.x_stride)) &&
                    rows_of_eights(params.up, params.up_stride) && rows_of_eights(params.out, params.out_stride);
  with_float_type(params.x_dtype, [&](auto t) {
    with_float_type(params.out_dtype, [&](auto o) {
      using T = decltype(t);
      using O = decltype(o);
      cut_rows(params.rows, params.width, wide ? kVec : 1, [&](int64_t first, int64_t rows, int64_t blocks) {
        ActivationParams p = params;
        p.rows = rows, p.x = moved(p.x, first * p.x_stride, p.x_dtype);
        p.up = moved(p.up, first * p.up_stride, p.x_dtype), p.out = moved(p.out, first * p.out_stride, p.out_dtype);
        launch(context, {.grid = blocks, .block = kThreads},
               wide ? activation_kernel<T, O, kVec> : activation_kernel<T, O, 1>, p);
      });
    });
  });
}

void run_scale(const ScaleParams& params, Context& context) {
  const bool wide = params.width % kVec == 0 && rows_of_eights(params.x, params.x_stride) &&
                    rows_of_eights(params.out, params.out_stride);
  with_float_type(params.x_dtype, [&](auto t) {
    with_float_type(params.out_dtype, [&](auto o) {
      using T = decltype(t);
      using O = decltype(o);
      cut_rows(params.rows, params.width, wide ? kVec : 1, [&](int64_t first, int64_t rows, int64_t blocks) {
        ScaleParams p = params;
        p.rows = rows, p.x = moved(p.x, first * p.x_stride, p.x_dtype);
        p.out = moved(p.out, first * p.out_stride, p.out_dtype);
        launch(context, {.grid = blocks, .block = kThreads}, wide ? scale_kernel<T, O, kVec> : scale_kernel<T, O, 1>,
               p);
      });
    });
  });
}

}  // namespace mamba::cuda
