#pragma once
// What checks of linear have on the device: a kernel ahead that makes inputs late, and the product in float64.
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/linear.h"

namespace lab {

// Copies after some 15 us, and lets the next kernel start before: a block that reads too early gets what the
// destination had.
__global__ void late_copy_kernel(uint32_t* x, const uint32_t* x_from, int64_t x_words, uint32_t* out,
                                 const uint32_t* out_from, int64_t out_words) {
  mamba::cuda::let_next_start();
  mamba::cuda::wait_for_inputs();
  const int64_t first = blockIdx.x * int64_t{blockDim.x} + threadIdx.x, step = int64_t{gridDim.x} * blockDim.x;
  const int64_t begin = clock64();
  while (clock64() - begin < 30000) {
  }
  for (int64_t i = first; i < x_words; i += step) x[i] = x_from[i];
  for (int64_t i = first; i < out_words; i += step) out[i] = out_from[i];
}

struct ExactSum {
  double value = 0, size = 0;  // of the terms, and of what they are without their signs
};

__device__ inline ExactSum exact_sum(const mamba::LinearParams& p, int64_t row, int64_t n) {
  ExactSum sum;
  for (int64_t k = 0; k < p.k; ++k) {
    const double term = static_cast<double>(mamba::cuda::load_any(p.x, p.x_dtype, row * p.x_stride + k)) *
                        static_cast<double>(mamba::cuda::load_any(p.weight, p.weight_dtype, n * p.k + k));
    sum.value += term, sum.size += fabs(term);
  }
  return sum;
}

}  // namespace lab
