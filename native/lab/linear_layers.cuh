#pragma once
// The chains that linear.cu and linear_rows.cu time: models' in_proj and out_proj, with stand-ins for the small kernels
// of a layer between, and the floor: a kernel that only reads.
#include <functional>

#include "cuda/linear.cuh"
#include "lab/lab.cuh"

namespace {

// Reads only; the sum keeps the loads.
template <int Unroll>
__global__ void read_kernel(const uint4* from, int64_t n, uint32_t* sink) {
  const int64_t base = blockIdx.x * int64_t{256 * Unroll} + threadIdx.x;
  uint4 v[Unroll];
#pragma unroll
  for (int i = 0; i < Unroll; ++i) {
    v[i] = base + i * 256 < n ? mamba::cuda::load_weight(from + base + i * 256) : uint4{0, 0, 0, 0};
  }
  uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < Unroll; ++i) sum += v[i].x + v[i].y * 3 + v[i].z * 5 + v[i].w * 7;
  if (sum == 0x12345677u) *sink = sum;
}

[[maybe_unused]] lab::Times read_floor(lab::Bench& bench, const void* from, double bytes, uint32_t* sink) {
  const auto n = static_cast<int64_t>(bytes / 16);
  const auto* at = static_cast<const uint4*>(from);
  const auto blocks = [n](int64_t each) { return static_cast<unsigned>((n + each - 1) / each); };
  const lab::Times a = bench.time([=](cudaStream_t s) { read_kernel<4><<<blocks(1024), 256, 0, s>>>(at, n, sink); });
  const lab::Times b = bench.time([=](cudaStream_t s) { read_kernel<8><<<blocks(2048), 256, 0, s>>>(at, n, sink); });
  return {std::min(a.event, b.event), std::min(a.clean, b.clean)};
}

struct Model {
  const char* name;
  int64_t in_n, in_k, out_n, out_k, head_n, layers, state;  // state: elements of an SSM state
};
const Model kModels[] = {{"130m", 3352, 768, 768, 1536, 50288, 24, 24 * 64 * 128},
                         {"2.7b", 10576, 2560, 2560, 5120, 50288, 16, 80 * 64 * 128},
                         {"7b", 18560, 4096, 4096, 8192, 32768, 8, 128 * 64 * 128}};

// --- chains ---------------------------------------------------------------------------------------------------------
// Stand-ins for the small kernels of a layer: one block a row that reads it twice over a sum, as a norm does, and one
// that moves `count` vectors of eight, as the convolution and the state update do.
__global__ void __launch_bounds__(256) row_kernel(const uint4* from, uint4* to, int vectors) {
  __shared__ float sums[8];
  mamba::cuda::let_next_start();
  mamba::cuda::wait_for_inputs();
  from += int64_t{blockIdx.x} * vectors, to += int64_t{blockIdx.x} * vectors;
  float sum = 0;
  for (int i = threadIdx.x; i < vectors; i += 256) sum += __uint_as_float(from[i].x & 0x3fffffffu);
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  for (int i = 0; i < 8; ++i) sum += sums[i];
  for (int i = threadIdx.x; i < vectors; i += 256) {
    uint4 v = from[i];
    v.x ^= sum == 12345.0f;
    to[i] = v;
  }
}

__global__ void __launch_bounds__(256) move_kernel(const uint4* from, uint4* to, uint4* state, int vectors, int count) {
  mamba::cuda::let_next_start();
  mamba::cuda::wait_for_inputs();
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i < vectors) to[i] = from[i];
  if (i >= count) return;
  uint4 v = state[i];
  v.x ^= 1, state[i] = v;
}

// `linear(i, second)` launches a layer's in_proj or out_proj; between them what a layer launches, without its sense.
[[maybe_unused]] void run_layers(const Model& model, int64_t m, const lab::Buffer& x, const lab::Buffer& out,
                                 const lab::Buffer& state, mamba::cuda::Context& context, bool early,
                                 const std::function<void(mamba::cuda::Context&, int64_t, bool)>& linear) {
  const auto vectors = [&](int64_t elements) { return static_cast<int>(elements / 8); };
  const auto row = [&](const lab::Buffer& at, int64_t width) {
    context.early = context.early && early;
    mamba::cuda::launch(context, {.grid = m, .block = 256}, row_kernel, at.as<const uint4>(), at.as<uint4>(),
                        vectors(width));
  };
  const auto move = [&](int64_t moved, int64_t stated) {
    context.early = context.early && early;
    const auto blocks = static_cast<unsigned>((std::max(moved, stated) / 8 + 255) / 256);
    mamba::cuda::launch(context, {.grid = blocks, .block = 256}, move_kernel, out.as<const uint4>(),
                        out.as<uint4>() + vectors(moved), state.as<uint4>(), vectors(moved), vectors(stated));
  };
  for (int64_t i = 0; i < model.layers; ++i) {
    row(x, model.in_k);
    context.early = context.early && early;
    linear(context, i, false);
    move(m * model.in_n, 0);
    move(m * model.out_k, m * model.state);
    row(out, model.out_k);
    context.early = context.early && early;
    linear(context, i, true);
  }
}

}  // namespace
