// square_sums and rms_norm_of_sums: the halves of a norm whose groups lie on several ranks.
//
// Idea. A block takes a row. Its warps take groups in turn: the lanes of a warp go along a group's channels, and a
// shuffle adds their squares, so that the order of a sum depends on the group's channels alone. Types are known at run
// time: these are few bytes beside a mixer's products.
//
// Bound. Bytes: x once, or x and out; for few rows the latency of one load and one store.
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"

namespace mamba::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) square_sums_kernel(const __grid_constant__ SquareSumsParams p) {
  let_next_start();
  wait_for_inputs();
  const int64_t row = blockIdx.x;
  const int lane = threadIdx.x % 32;
  for (int64_t group = threadIdx.x / 32; group < p.groups; group += kThreads / 32) {
    const int64_t begin = max(group * p.group_size - p.first, int64_t{0});
    const int64_t end = min((group + 1) * p.group_size - p.first, p.width);
    float sum = 0;
    for (int64_t c = begin + lane; c < end; c += 32) {
      const float v = load_any(p.x, p.dtype, row * p.x_stride + c);
      sum = fmaf(v, v, sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) p.sums[row * p.groups + group] = sum;
  }
}

__global__ void __launch_bounds__(kThreads) rms_norm_of_sums_kernel(const __grid_constant__ RmsNormOfSumsParams p) {
  let_next_start();
  wait_for_inputs();
  const int64_t row = blockIdx.x;
  for (int64_t c = threadIdx.x; c < p.width; c += kThreads) {
    const float mean = p.sums[row * p.groups + (p.first + c) / p.group_size] / static_cast<float>(p.group_size);
    const float x = load_any(p.x, p.dtype, row * p.x_stride + c);
    store_any(p.out, p.dtype, row * p.out_stride + c, x * rsqrtf(mean + p.eps) * p.weight[c]);
  }
}

}  // namespace

void run_square_sums(const SquareSumsParams& p, Context& context) {
  launch(context, {.grid = p.rows, .block = kThreads}, square_sums_kernel, p);
}

void run_rms_norm_of_sums(const RmsNormOfSumsParams& p, Context& context) {
  launch(context, {.grid = p.rows, .block = kThreads}, rms_norm_of_sums_kernel, p);
}

}  // namespace mamba::cuda
