// ProductTrial: operands, the reference, and the comparison. Nothing here is timed.
#include <utility>

#include "cuda/dispatch.h"
#include "cuda/launch.cuh"
#include "cuda/linear_rows.h"
#include "cuda/product_trial.h"
#include "cuda/vec.cuh"

namespace mamba::cuda {
namespace {

constexpr int kThreads = 256;
constexpr size_t kAlignment = 256;

size_t rounded_up(int64_t elements, DType dtype) {
  return (static_cast<size_t>(elements) * size_of(dtype) + kAlignment - 1) / kAlignment * kAlignment;
}

// Both signs, and sizes within a factor of 256: sums in another order have other bits.
__global__ void __launch_bounds__(kThreads) random_kernel(void* to, DType dtype, int64_t count, uint32_t seed) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    uint32_t x = static_cast<uint32_t>(i) * 0x9e3779b9u ^ static_cast<uint32_t>(i >> 32) ^ seed;
    x = (x ^ x >> 16) * 0x85ebca6bu, x = (x ^ x >> 13) * 0xc2b2ae35u, x ^= x >> 16;
    const float value =
        (static_cast<float>(x & 0xffffu) + 1) * 0x1p-16f * static_cast<float>(1 << (x >> 16 & 7)) * 0x1p-7f;
    store_any(to, dtype, i, x >> 31 ? -value : value);
  }
}

__global__ void __launch_bounds__(kThreads)
    compare_kernel(const uint32_t* a, const uint32_t* b, int64_t words, unsigned* differing) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < words; i += int64_t{gridDim.x} * kThreads) {
    if (a[i] != b[i]) atomicAdd(differing, 1u);
  }
}

}  // namespace

ProductTrial::ProductTrial(const LinearParams& like, Context& context) : operands_(like), context_(context) {
  const int64_t outs = like.m * like.out_stride;
  const size_t x_bytes = rounded_up(like.m * like.x_stride, like.x_dtype),
               weight_bytes = rounded_up((like.n + 2 * kAlignment) * like.k, like.weight_dtype),
               bias_bytes = rounded_up(like.n, DType::f32);
  out_bytes_ = rounded_up(outs, like.out_dtype);
  if (cudaMalloc(&memory_, x_bytes + weight_bytes + bias_bytes + 2 * out_bytes_ + kAlignment) != cudaSuccess) {
    cudaGetLastError();
    memory_ = nullptr;
    return;
  }
  auto* at = static_cast<uint8_t*>(memory_);
  const auto take = [&](size_t bytes) { return std::exchange(at, at + bytes); };
  const auto random = [&](void* to, DType dtype, size_t bytes, uint32_t seed) {
    launch(context_, {.grid = 4 * context_.multiprocessors, .block = kThreads, .early = false}, random_kernel, to,
           dtype, static_cast<int64_t>(bytes / size_of(dtype)), seed);
    return to;
  };
  operands_.x = random(take(x_bytes), like.x_dtype, x_bytes, 1);
  operands_.weight = random(take(weight_bytes), like.weight_dtype, weight_bytes, 2);
  void* bias = random(take(bias_bytes), DType::f32, bias_bytes, 3);
  if (like.bias) operands_.bias = static_cast<const float*>(bias);
  out_ = take(out_bytes_), expected_ = take(out_bytes_);
  differing_ = reinterpret_cast<unsigned*>(take(kAlignment));
  operands_.out = expected_;
  reset();
  context_.full_stop();
  ready_ = run_linear_chains(operands_, context_);
  operands_.out = out_;
}

ProductTrial::~ProductTrial() {
  cudaStreamSynchronize(context_.stream);
  cudaFree(memory_);
}

void ProductTrial::reset() const {
  launch(context_, {.grid = 4 * context_.multiprocessors, .block = kThreads, .early = false}, random_kernel,
         operands_.out, operands_.out_dtype, static_cast<int64_t>(out_bytes_ / size_of(operands_.out_dtype)), 4u);
  context_.full_stop();
}

bool ProductTrial::same_bits() const {
  check(cudaMemsetAsync(differing_, 0, sizeof(unsigned), context_.stream), "memset");
  context_.full_stop();
  launch(context_, {.grid = 4 * context_.multiprocessors, .block = kThreads, .early = false}, compare_kernel,
         static_cast<const uint32_t*>(out_), static_cast<const uint32_t*>(expected_),
         static_cast<int64_t>(out_bytes_ / 4), differing_);
  unsigned differing = 1;
  check(cudaMemcpyAsync(&differing, differing_, sizeof(differing), cudaMemcpyDeviceToHost, context_.stream),
        "download");
  check(cudaStreamSynchronize(context_.stream), "trial of a product");
  context_.full_stop();
  return differing == 0;
}

}  // namespace mamba::cuda
