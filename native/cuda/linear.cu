// linear and the packing of its weight. The weight is row-major [n, k], for both of the paths that read it fast:
//   fragments   up to 16 rows of x (decode), and any number with a small weight: linear.cuh
//   rows        9 to 64 rows and a large weight whose shape suits a Hopper GPU: linear_rows.cuh
//   library     other rows, or float: cuBLASLt, or tiles of linear_walk.cuh where they are faster (gemm_plans.h)
//   general     what neither takes: x and weight of two types, an odd k, a library without an algorithm
// Each but the library adds up an output's products in an order that depends on n and k alone, so within one of them a
// row of x gives the same bits whatever rows lie beside it; the library promises that for the same number of rows only.
// On a deterministic stream the path goes by the weight: see run_deterministic().
#include <algorithm>

#include "cuda/gemm_plans.h"
#include "cuda/kernels.h"
#include "cuda/linear.cuh"
#include "cuda/linear_rows.h"
#include "cuda/quantized_linear.h"
#include "cuda/staging.h"

namespace mamba::cuda {
namespace {

constexpr int kThreads = 256;  // of the general kernel, and of those that go over elements
constexpr int64_t kFewRows = 16;
// Elements of a weight that stays in the L2 however often it is read. Such products are as fast as a launch.
constexpr int64_t kSmallWeight = 64 << 10;
constexpr int64_t kLongestRow = 1 << 26;  // elements, for 32-bit offsets of bytes within a block's rows

// --- general --------------------------------------------------------------------------------------------------------
// CUDA cores: a block has 16 Rows x 64 outputs, a thread Rows x 4 of them; 16 of k at a time lie in shared memory as
// floats, the next 16 in registers. Bound by the products, a few TFLOP/s. Sums are taken in the order of k.
template <int Rows>
__global__ void __launch_bounds__(kThreads) linear_general_kernel(const __grid_constant__ LinearParams p) {
  constexpr int kTileM = 16 * Rows, kTileN = 64, kTileK = 16, kPad = 4;
  __shared__ __align__(16) float xs[kTileK][kTileM + kPad], ws[kTileK][kTileN + kPad];
  const int64_t first_m = int64_t{blockIdx.x} * kTileM, first_n = int64_t{blockIdx.y} * kTileN;
  const int along_k = threadIdx.x % kTileK, along_rows = threadIdx.x / kTileK;  // while loading
  const int column = threadIdx.x % 16, row = threadIdx.x / 16;
  float next_x[Rows], next_w[4];
  const auto fetch = [&](int64_t k) {
    const bool inside = k + along_k < p.k;
#pragma unroll
    for (int i = 0; i < Rows; ++i) {
      const int64_t m = first_m + i * 16 + along_rows;
      next_x[i] = inside && m < p.m ? load_any(p.x, p.x_dtype, m * p.x_stride + k + along_k) : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t n = first_n + i * 16 + along_rows;
      next_w[i] = inside && n < p.n ? load_any(p.weight, p.weight_dtype, n * p.k + k + along_k) : 0.0f;
    }
  };
  let_next_start();
  wait_for_inputs();
  fetch(0);
  float sums[Rows][4] = {};
  for (int64_t k = 0; k < p.k; k += kTileK) {
#pragma unroll
    for (int i = 0; i < Rows; ++i) xs[along_k][i * 16 + along_rows] = next_x[i];
#pragma unroll
    for (int i = 0; i < 4; ++i) ws[along_k][i * 16 + along_rows] = next_w[i];
    __syncthreads();
    fetch(k + kTileK);
#pragma unroll
    for (int c = 0; c < kTileK; ++c) {
      const Vec<float, 4> w = load<4>(&ws[c][column * 4]);
#pragma unroll
      for (int i = 0; i < Rows; ++i) {
        const float x = xs[c][row * Rows + i];
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(x, w.elements[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < Rows; ++i) {
    const int64_t m = first_m + row * Rows + i;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t n = first_n + column * 4 + j;
      if (m < p.m) write_out(p, m, n, p.alpha * sums[i][j] + load_out(p, m, n));
    }
  }
}

template <int Rows>
void run_general(const LinearParams& p, Context& context) {
  const int64_t tiles_m = ceil_div(p.m, 16 * Rows), tiles_n = ceil_div(p.n, 64);
  // Columns beyond the grid's limit take launches of their own.
  for (int64_t first = 0; first < tiles_n; first += kMostBlocksYZ) {
    LinearParams part = p;
    const int64_t n = first * 64;
    part.n = std::min(p.n - n, kMostBlocksYZ * 64);
    part.weight = static_cast<const char*>(p.weight) + n * p.k * static_cast<int64_t>(size_of(p.weight_dtype));
    part.out = static_cast<char*>(p.out) + n * static_cast<int64_t>(size_of(p.out_dtype));
    if (p.bias) part.bias = p.bias + n;
    launch(context, {.grid = {tiles_m, ceil_div(part.n, 64)}, .block = kThreads}, linear_general_kernel<Rows>, part);
  }
}

void run_general(const LinearParams& p, Context& context) {
  p.m <= kFewRows ? run_general<1>(p, context) : run_general<4>(p, context);
}

// --- fragments ------------------------------------------------------------------------------------------------------
template <class T, bool Whole, int Columns, int Depth>
void launch_fragments(const LinearParams& p, Context& context) {
  constexpr int kWarps = 8, kTiles = 1, kBlocks = 3;
  const auto kernel = linear_frag_kernel<T, Whole, Columns, kTiles, kWarps, Depth, kBlocks>;
  static thread_local const cudaError_t mostly_l1 = prefer_l1(kernel, sums_bytes(kTiles, Columns, kWarps, 8), kBlocks);
  check(mostly_l1, "L1 of a multiprocessor");
  const int splits = splits_of(p, kWarps, context);
  launch(context,
         {.grid = {row_tiles(p.n) * splits, ceil_div(p.m, 8 * Columns)},
          .block = kWarps * 32,
          .shared_bytes = sums_bytes(kTiles, Columns, kWarps, splits),
          .cluster = splits},
         kernel, p, splits);
}

template <class T>
void run_fragments(const LinearParams& p, Context& context) {
  const bool vectors = rows_of_eights(p.x, p.m == 1 ? 0 : p.x_stride);
  if (!vectors || p.k % kStepK != 0) return launch_fragments<T, false, 2, 2>(p, context);
  return p.m <= 8 ? launch_fragments<T, true, 1, 4>(p, context) : launch_fragments<T, true, 2, 3>(p, context);
}

void run_fragments(const LinearParams& p, Context& context) {
  p.x_dtype == DType::bf16 ? run_fragments<bf16>(p, context) : run_fragments<f16>(p, context);
}

// --- rows -----------------------------------------------------------------------------------------------------------
// False, with nothing launched, where another path is faster. At 8 rows or fewer fragments are, in whole decode steps:
// alone the kernel is ahead with 3584 to 4480 outputs (4096 x 12288 25.2 us, 30.3), but a step of Qwen3.5-9B took 5.27
// ms instead of 4.40 (H200).
bool run_planned_rows(const LinearParams& p, bool fragments, Context& context) {
  constexpr int64_t kVeryFewRows = 8;
  if ((fragments && p.m <= kVeryFewRows) || !rows_fit(p, context)) return false;
  const auto plan = rows_plan(p.n, p.k, context);
  return plan && p.m <= plan->most_rows && run_linear_rows(p, *plan, context);
}

// --- library --------------------------------------------------------------------------------------------------------
__global__ void __launch_bounds__(kThreads)
    round_rows_kernel(const float* from, const __grid_constant__ LinearParams to) {
  let_next_start();
  wait_for_inputs();
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < to.m * to.n; i += step) {
    write_out(to, i / to.n, i % to.n, from[i] + load_out(to, i / to.n, i % to.n));
  }
}

// The library adds the bias to float outputs only: 16-bit ones are made from as many float rows as the workspace holds.
bool run_library(const LinearParams& p, Context& context) {
  if (!p.bias || p.out_dtype == DType::f32) return context.gemm_plans->run(p, context);
  auto* floats = reinterpret_cast<float*>(static_cast<char*>(context.workspace) + kGemmWorkspaceBytes);
  const auto room = static_cast<int64_t>((context.workspace_bytes - kGemmWorkspaceBytes) / sizeof(float));
  const int64_t rows = std::min(p.m, room / p.n);
  if (rows == 0) return false;
  for (int64_t row = 0; row < p.m; row += rows) {
    LinearParams part = p;
    part.m = std::min(rows, p.m - row);
    part.x = static_cast<const char*>(p.x) + row * p.x_stride * static_cast<int64_t>(size_of(p.x_dtype));
    part.out = static_cast<char*>(p.out) + row * p.out_stride * static_cast<int64_t>(size_of(p.out_dtype));
    LinearParams product = part;
    product.bias = nullptr, product.accumulate = false;
    product.out = floats, product.out_stride = p.n, product.out_dtype = DType::f32;
    if (!context.gemm_plans->run(product, context)) return false;
    const int64_t blocks = std::min<int64_t>(ceil_div(part.m * part.n, kThreads), 16 * context.multiprocessors);
    launch(context, {.grid = blocks, .block = kThreads}, round_rows_kernel, floats, part);
  }
  return true;
}

// --- packing --------------------------------------------------------------------------------------------------------
__global__ void __launch_bounds__(kThreads)
    convert_kernel(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t count) {
  let_next_start();
  wait_for_inputs();
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    store_any(to, to_dtype, i, load_any(from, from_dtype, i));
  }
}

// One order of sums for each weight. On a Hopper GPU that of a chain of products along k: the rows kernel has it, and
// so have the library's algorithms that GemmPlans lets a deterministic stream use, so times may choose. The rest is for
// one path each.
void run_deterministic(const LinearParams& p, bool fragments, bool small, Context& context) {
  if (fragments && small) return run_fragments(p, context);
  if (context.gemm_plans->run(p, context)) return;
  if (run_linear_chains(p, context)) return;
  fragments ? run_fragments(p, context) : run_general(p, context);
}

}  // namespace

void run_linear(const LinearParams& p, Context& context) {
  if (p.m == 0 || p.n == 0) return;
  if (is_code(p.weight_dtype)) return run_quantized_linear(p, context);
  const bool small = p.n * p.k <= kSmallWeight;
  const bool fragments =
      p.x_dtype == p.weight_dtype && p.x_dtype != DType::f32 && p.k % 8 == 0 && p.k <= kLongestRow && aligned(p.weight);
  if (context.deterministic) return run_deterministic(p, fragments, small, context);
  if (run_planned_rows(p, fragments, context)) return;
  if (fragments && (p.m <= kFewRows || (small && p.m <= kMostBlocksYZ * kFewRows))) {
    return run_fragments(p, context);
  }
  if (!small && run_library(p, context)) return;
  run_general(p, context);
}

// Rows up to two whole tiles, so that a block need not ask which of its rows exist.
size_t linear_weight_bytes(int64_t n, int64_t k, DType dtype, int64_t group) {
  if (is_code(dtype)) {
    check_groups(k, dtype, group);
    return quantized_weight_bytes(n, k, dtype);
  }
  constexpr int64_t kRows = 2 * kTileRows;
  return static_cast<size_t>((n + kRows - 1) / kRows * kRows * k) * size_of(dtype);
}

void run_pack_linear_weight(const PackLinearWeightParams& p, Context& context) {
  if (is_code(p.src_dtype) || is_code(p.dst_dtype)) return run_pack_quantized_weight(p, context);
  const int64_t count = p.n * p.k;
  const auto src_size = static_cast<int64_t>(size_of(p.src_dtype)),
             dst_size = static_cast<int64_t>(size_of(p.dst_dtype));
  if (p.src_dtype == p.dst_dtype) {
    context.staging->copy(p.dst, *p.src, 0, static_cast<size_t>(count * src_size), context.stream);
  } else {
    // Pieces as large as the workspace; the stream's order keeps each until it is converted.
    const int64_t room = static_cast<int64_t>(context.workspace_bytes) / src_size;
    for (int64_t first = 0; first < count; first += room) {
      const int64_t part = std::min(room, count - first);
      context.staging->copy(context.workspace, *p.src, static_cast<size_t>(first * src_size),
                            static_cast<size_t>(part * src_size), context.stream);
      const int64_t blocks = std::min<int64_t>(ceil_div(part, kThreads), 16 * context.multiprocessors);
      launch(context, {.grid = blocks, .block = kThreads, .early = false}, convert_kernel, context.workspace,
             p.src_dtype, static_cast<char*>(p.dst) + first * dst_size, p.dst_dtype, part);
    }
  }
  const size_t bytes = static_cast<size_t>(count * dst_size);
  check(cudaMemsetAsync(static_cast<char*>(p.dst) + bytes, 0, linear_weight_bytes(p.n, p.k, p.dst_dtype) - bytes,
                        context.stream),
        "end of a weight");
  context.full_stop();  // linear reads weights before the launch ahead has ended
}

}  // namespace mamba::cuda
