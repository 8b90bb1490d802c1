#pragma once
// A mixture of experts for few tokens, in three launches instead of nine: the router's product and its choice; the
// up-projections of the chosen experts and of the shared one; the down-projections, weighted and added to out.
//
// route_few. A cluster of eight blocks has a token: a warp takes whole rows of the router, lanes along them. The logits
// meet in the shared memory of the cluster's first block, whose first warp chooses. The router's weight is on its way
// before the inputs are there.
//
// up_few. A warp has one output of one expert: a row of the weight, two with a gate, of which it reads 512 bytes at a
// time. The shared expert's rows come first and are asked for before the choice is known. down_few. `Splits` warps
// share some columns of a token's out: they read, of each column, the rows of all of its experts. In both a block has
// one token, whose row lies in shared memory. Nothing is sorted: what two tokens both chose is read twice, the second
// time from the L2, and blocks that differ in the token alone run side by side. down_few reads the choice before its
// inputs are there, which launch.cuh forbids otherwise: up_few's blocks wait for the choice before they let it start.
//
// Bound. Bytes: the rows of the chosen experts and of the shared one. Sums are taken in an order that the weights'
// shapes give, and whether there is one token.
#include "cuda/activation.cuh"
#include "cuda/cluster.cuh"
#include "cuda/launch.cuh"
#include "cuda/linear.cuh"
#include "cuda/route.cuh"
#include "cuda/shared_memory.cuh"
#include "cuda/vec.cuh"

namespace mamba::cuda::few {

constexpr int kWarps = 8, kThreads = kWarps * 32, kCluster = 8;
constexpr int kPiece = 256;       // elements of a row that a warp takes at once, eight for each lane
constexpr int kMostOfToken = 64;  // experts

__host__ __device__ constexpr int whole_row(int size) { return (size + kPiece - 1) / kPiece * kPiece; }

struct Route {
  RouteParams route;
  int width;
  const bf16* x;  // [tokens, width], row stride x_stride
  int64_t x_stride;
  const bf16* weight;  // [experts, width]
};

struct Experts {
  int tokens, experts, k, width, size, shared_size;  // shared_size 0: no shared expert
  const bf16* x;                                     // [tokens, width], row stride x_stride
  int64_t x_stride;
  const int32_t* ids;              // [tokens, k]
  const float* weights;            // [tokens, k]
  const bf16 *up, *down;           // [experts, size or 2 size, width], [experts, width, size]
  int64_t up_stride, down_stride;  // elements from expert to expert: rows are padded
  const bf16* shared_up;           // [shared_size or 2 shared_size, width]
  const bf16* shared_down;         // [width, shared_size]
  const bf16* shared_gate;         // [width] or null
  bf16* between;                   // [tokens k, size]
  bf16* shared_between;            // [tokens, shared_size], row stride shared_stride
  int64_t shared_stride;
  bf16* shared_factors;  // [tokens], with a gate
  void* out;             // [tokens, width], row stride out_stride
  int64_t out_stride;
  DType out_dtype;
  Activation activation;
  float alpha;
  bool accumulate;
};

__device__ __forceinline__ float dot8(const uint4& a, const uint4& b, float sum) {
  const uint32_t x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum = fmaf(__uint_as_float(x[i] << 16), __uint_as_float(y[i] << 16), sum);
    sum = fmaf(__uint_as_float(x[i] & 0xffff0000u), __uint_as_float(y[i] & 0xffff0000u), sum);
  }
  return sum;
}
__device__ __forceinline__ uint4 weight_piece(const bf16* row, int at, int end) {
  return at < end ? load_weight(row + at) : uint4{0, 0, 0, 0};
}
__device__ __forceinline__ uint4 row_piece(const bf16* row, int at, int end) {
  return at < end ? load_x<true>(row + at) : uint4{0, 0, 0, 0};
}

// Eight elements into shared memory; zeros if not `real`. Whole blocks see them after finish_staging().
__device__ __forceinline__ void stage(bf16* to, const bf16* from, bool real) {
  copy_async(shared_address(to), from, real ? 16 : 0);
}
__device__ __forceinline__ void finish_staging() {
  wait_for_copies();
  __syncthreads();
}
__device__ __forceinline__ uint4 staged(const bf16* row, int at) { return *reinterpret_cast<const uint4*>(row + at); }

// Rows: of the router for a warp. Pieces: of a row. Both at most.
template <int Rows, int Pieces>
__global__ void __launch_bounds__(kThreads) route_few_kernel(const __grid_constant__ Route p) {
  constexpr int kExperts = Rows * kCluster * kWarps;
  extern __shared__ float group_memory[];
  __shared__ float logits[kExperts];
  const int rank = blockIdx.x % kCluster, token = blockIdx.x / kCluster, experts = static_cast<int>(p.route.experts);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const auto expert_of = [&](int r) { return (r * kWarps + warp) * kCluster + rank; };
  cluster_arrive();
  uint4 w[Rows][Pieces];
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    const int64_t row = min(expert_of(r), experts - 1);
#pragma unroll
    for (int i = 0; i < Pieces; ++i) w[r][i] = weight_piece(p.weight + row * p.width, i * kPiece + lane * 8, p.width);
  }
  float biases[kExperts / 32] = {};
  if (rank == 0 && warp == 0) load_biases(p.route, biases);
  const bool padding = p.route.slots && p.route.slots[token] < 0;
  wait_for_inputs();
  let_next_start();
  const bf16* row = p.x + token * p.x_stride;
  float sums[Rows] = {};
#pragma unroll
  for (int i = 0; i < Pieces; ++i) {
    const uint4 x = row_piece(row, i * kPiece + lane * 8, p.width);
#pragma unroll
    for (int r = 0; r < Rows; ++r) sums[r] = dot8(w[r][i], x, sums[r]);
  }
  cluster_wait();  // all blocks have started
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    const float sum = warp_sum(sums[r]);
    if (lane == 0 && expert_of(r) < experts) store_to_first(logits + expert_of(r), sum);
  }
  cluster_arrive();
  cluster_wait();
  if (rank > 0 || warp > 0) return;
  int32_t* ids = p.route.ids + token * p.route.k;
  float* weights = p.route.weights + token * p.route.k;
  if (padding) return choose_none(p.route, ids, weights);
  float scores[kExperts / 32];
#pragma unroll
  for (int i = 0; i < kExperts / 32; ++i) {
    scores[i] = i * 32 + lane < experts ? number_or_lowest(logits[i * 32 + lane]) : lowest();
  }
  choose_experts(p.route, scores, biases, group_memory, ids, weights);
}

// A block's warps have adjacent outputs. Depth: pieces of a row on their way.
template <bool Gated, int Depth, int Blocks>
__global__ void __launch_bounds__(kThreads, Blocks) up_few_kernel(const __grid_constant__ Experts p) {
  constexpr int kProducts = Gated ? 2 : 1;
  extern __shared__ __align__(16) bf16 token_row[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int shared_rows = p.shared_size + (p.shared_gate ? 1 : 0);  // the gate behind them
  const int shared_blocks = (shared_rows + kWarps - 1) / kWarps * p.tokens, blocks = (p.size + kWarps - 1) / kWarps;
  const int routed = static_cast<int>(blockIdx.x) - shared_blocks;
  const bool shared = routed < 0;
  const int pair = shared ? 0 : routed / blocks;
  const int token = shared ? static_cast<int>(blockIdx.x) % p.tokens : pair / p.k;
  const int row = (shared ? static_cast<int>(blockIdx.x) / p.tokens : routed % blocks) * kWarps + warp;
  const bf16* rows[kProducts];
  uint4 w[Depth][kProducts];
  const auto fetch = [&](int d, int at) {
#pragma unroll
    for (int j = 0; j < kProducts; ++j) w[d][j] = weight_piece(rows[j], at, p.width);
  };
  const auto start = [&](const bf16* weight, int size) {
#pragma unroll
    for (int j = 0; j < kProducts; ++j) rows[j] = weight + (int64_t{j} * size + min(row, size - 1)) * p.width;
#pragma unroll
    for (int d = 0; d < Depth; ++d) fetch(d, d * kPiece + lane * 8);
  };
  const bool gate = shared && row == p.shared_size;
  if (shared) {
    if (gate) {
      start(p.shared_gate, 1);
    } else {
      start(p.shared_up, p.shared_size);
    }
  }
  wait_for_inputs();
  let_next_start();
  if (!shared) {
    const int expert = p.ids[pair];
    if (expert < 0 || expert >= p.experts) return;
    start(p.up + expert * p.up_stride, p.size);
  }
  const bf16* x_row = p.x + token * p.x_stride;
  for (int at = static_cast<int>(threadIdx.x) * 8; at < whole_row(p.width); at += kThreads * 8) {
    stage(token_row + at, at < p.width ? x_row + at : x_row, at < p.width);
  }
  finish_staging();
  float sums[kProducts] = {};
  for (int base = 0; base < p.width; base += Depth * kPiece) {
#pragma unroll
    for (int d = 0; d < Depth; ++d) {
      if (base + d * kPiece >= p.width) break;
      const int at = base + d * kPiece + lane * 8;
      const uint4 x = staged(token_row, at);
#pragma unroll
      for (int j = 0; j < kProducts; ++j) sums[j] = dot8(w[d][j], x, sums[j]);
      fetch(d, at + Depth * kPiece);
    }
  }
#pragma unroll
  for (int j = 0; j < kProducts; ++j) sums[j] = warp_sum(sums[j]);
  if (lane > 0 || row >= (shared ? shared_rows : p.size)) return;
  if (gate) {
    p.shared_factors[token] = rounded<bf16>(sigmoid(sums[0]));
    return;
  }
  float value;
  with_activation(p.activation, [&]<Activation kActivation> { value = activated<kActivation>(sums[0]); });
  if constexpr (Gated) value *= sums[1];
  bf16* to = shared ? p.shared_between + token * p.shared_stride : p.between + int64_t{pair} * p.size;
  to[row] = rounded<bf16>(value);
}

// What down_few keeps in shared memory: the rows between the projections, each of whole pieces.
__host__ __device__ inline int between_elements(const Experts& p) {
  return p.k * whole_row(p.size) + whole_row(p.shared_size);
}

// Columns: of out, for each warp. A unit is a piece of a row of one expert. Depth: units on their way in a warp.
template <int Splits, int Columns, int Depth, int Blocks>
__global__ void __launch_bounds__(kThreads, Blocks) down_few_kernel(const __grid_constant__ Experts p) {
  constexpr int kColumns = kWarps / Splits * Columns;
  extern __shared__ __align__(16) bf16 between[];
  __shared__ float partial[kWarps][Columns], weights[kMostOfToken + 1];
  __shared__ int experts[kMostOfToken];  // -1 for padding
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, split = warp % Splits;
  const int token = static_cast<int>(blockIdx.x) % p.tokens;
  const int first = static_cast<int>(blockIdx.x) / p.tokens * kColumns + warp / Splits * Columns;
  const int pieces = whole_row(p.size) / kPiece, units = between_elements(p) / kPiece;
  const int64_t first_pair = int64_t{token} * p.k;
  // Past the L1, which may still have those of the layer before.
  if (static_cast<int>(threadIdx.x) < p.k) {
    const int expert = __ldcg(p.ids + first_pair + threadIdx.x);
    experts[threadIdx.x] = expert < p.experts ? expert : -1;
    weights[threadIdx.x] = __ldcg(p.weights + first_pair + threadIdx.x);
  }
  __syncthreads();
  uint4 w[Depth][Columns];
  const auto fetch = [&](int d, int u) {
    if (u >= units) return;
    const int nth = min(u / pieces, p.k), at = (u - nth * pieces) * kPiece + lane * 8;
    const bool shared = nth == p.k;
    const int size = shared ? p.shared_size : p.size, expert = shared ? 0 : experts[nth];
    const bf16* rows = shared ? p.shared_down : p.down + expert * p.down_stride;
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const int64_t column = min(first + c, p.width - 1);
      w[d][c] = weight_piece(rows + column * size, at, expert < 0 ? 0 : size);
    }
  };
#pragma unroll
  for (int d = 0; d < Depth; ++d) fetch(d, split + d * Splits);
  wait_for_inputs();
  let_next_start();
  for (int u = warp; u < units; u += kWarps) {
    const int nth = min(u / pieces, p.k), at = (u - nth * pieces) * kPiece + lane * 8;
    const bool shared = nth == p.k, real = shared ? at < p.shared_size : experts[nth] >= 0 && at < p.size;
    const bf16* row = shared ? p.shared_between + token * p.shared_stride : p.between + (first_pair + nth) * p.size;
    stage(between + u * kPiece + lane * 8, real ? row + at : p.between, real);
  }
  if (threadIdx.x == 0) weights[p.k] = p.shared_gate ? as_float(p.shared_factors[token]) : 1.0f;
  // What a split's first lanes add their sums to.
  const bool writes = split == 0 && lane < Columns && first + lane < p.width;
  const int64_t place = token * p.out_stride + first + lane;
  const float before = writes && p.accumulate ? load_any(p.out, p.out_dtype, place) : 0.0f;
  finish_staging();
  float sums[Columns] = {};
  for (int base = split; base < units; base += Depth * Splits) {
#pragma unroll
    for (int d = 0; d < Depth; ++d) {
      const int u = base + d * Splits;
      if (u >= units) break;
      const int nth = min(u / pieces, p.k);
      const uint4 x = staged(between, u * kPiece + lane * 8);
#pragma unroll
      for (int c = 0; c < Columns; ++c) sums[c] = fmaf(weights[nth], dot8(w[d][c], x, 0.0f), sums[c]);
      fetch(d, u + Depth * Splits);
    }
  }
  float mine = 0;  // lane c keeps the sum of column c
#pragma unroll
  for (int c = 0; c < Columns; ++c) {
    const float sum = warp_sum(sums[c]);
    if (lane == c) mine = sum;
  }
  if constexpr (Splits > 1) {
    if (lane < Columns) partial[warp][lane] = mine;
    __syncthreads();
    if (!writes) return;
    mine = 0;
#pragma unroll
    for (int s = 0; s < Splits; ++s) mine += partial[warp + s][lane];
  }
  if (writes) store_any(p.out, p.out_dtype, place, fmaf(p.alpha, mine, before));
}

}  // namespace mamba::cuda::few
