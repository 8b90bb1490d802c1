// route, sort_by_expert and moe_combine on CUDA. Nothing is read back: what they decide stays on the device.
//
// route. A warp has a token, lane l the experts l, l + 32, ... in registers. The k best are found one by one: two
// reductions of the warp, for the largest score and for its lowest expert. Groups go through shared memory, where a
// lane has a group. Bound. The latency of the 2 k reductions; with many tokens, the logits.
//
// sort_by_expert. expert_sort.cuh.
//
// moe_combine. A thread has eight columns of a token and adds the rows of its pairs in their order; where a shared
// expert's row is added as well, a block has a token and takes the product of its row with the gate, if there is one.
// Bound. Bytes: k rows, out twice, with a shared expert two rows more.
#include <algorithm>

#include "core/float_type.h"
#include "cuda/activation.cuh"
#include "cuda/dispatch.h"
#include "cuda/expert_sort.cuh"
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/moe_combine.h"
#include "cuda/route.cuh"
#include "cuda/vec.cuh"

namespace mamba::cuda {
namespace {

// --- route ----------------------------------------------------------------------------------------------------------
constexpr int kWarps = 4;

// Each lane holds up to Each experts.
template <int Each>
__global__ void __launch_bounds__(kWarps * 32) route_kernel(const __grid_constant__ RouteParams p) {
  extern __shared__ float route_memory[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, experts = static_cast<int>(p.experts);
  const int64_t token = int64_t{blockIdx.x} * kWarps + warp;
  float biases[Each];
  load_biases(p, biases);
  let_next_start();
  wait_for_inputs();
  if (token >= p.tokens) return;
  int32_t* ids = p.ids + token * p.k;
  float* weights = p.weights + token * p.k;
  if (p.slots && p.slots[token] < 0) return choose_none(p, ids, weights);
  const float* logits = p.logits + token * p.logits_stride;
  float scores[Each];
#pragma unroll
  for (int i = 0; i < Each; ++i) {
    scores[i] = i * 32 + lane < experts ? number_or_lowest(logits[i * 32 + lane]) : lowest();
  }
  choose_experts(p, scores, biases, route_memory + warp * 2 * experts, ids, weights);
}

template <int Each>
void launch_route(const RouteParams& p, Context& context) {
  if constexpr (Each < 32) {
    if (p.experts > 32 * Each) return launch_route<2 * Each>(p, context);
  }
  launch(context, {.grid = ceil_div(p.tokens, kWarps), .block = kWarps * 32, .shared_bytes = kWarps * groups_bytes(p)},
         route_kernel<Each>, p);
}

// --- moe_combine ----------------------------------------------------------------------------------------------------
constexpr int kThreads = 256, kVec = 8;

template <class T, class O, int V>
__global__ void __launch_bounds__(kThreads) moe_combine_kernel(const __grid_constant__ MoeCombineParams p) {
  const uint32_t pieces = static_cast<uint32_t>((p.width + V - 1) / V), i = blockIdx.x * kThreads + threadIdx.x;
  const int64_t token = i / pieces, column = int64_t{i % pieces} * V;
  let_next_start();
  wait_for_inputs();
  if (token >= p.tokens) return;
  float total[V] = {};
#pragma unroll 4
  for (int64_t j = 0; j < p.k; ++j) {
    const int64_t row = p.positions[token * p.k + j];
    const float weight = p.weights[token * p.k + j];
    if (row < 0 || row >= p.rows) continue;
    float v[V];
    unpack(load<V>(static_cast<const T*>(p.y) + row * p.y_stride + column), v);
#pragma unroll
    for (int c = 0; c < V; ++c) total[c] = fmaf(weight, v[c], total[c]);
  }
  O* out = static_cast<O*>(p.out) + token * p.out_stride + column;
  float before[V] = {};
  if (p.accumulate) unpack(load<V>(out), before);
#pragma unroll
  for (int c = 0; c < V; ++c) total[c] = fmaf(p.alpha, total[c], before[c]);
  store(out, pack<O, V>(total));
}

constexpr int kMostThreads = 512;  // of a row

template <class T, class O, bool kGated>
__global__ void __launch_bounds__(kMostThreads, 3)
    combine_shared_kernel(const __grid_constant__ MoeCombineParams p, const __grid_constant__ SharedRows shared) {
  constexpr int kAhead = 4;
  __shared__ float sums[kMostThreads / 32];
  const int64_t token = blockIdx.x, column = int64_t{threadIdx.x} * kVec;
  const bool inside = column < p.width;
  float v[kVec], total[kVec] = {};
  let_next_start();
  wait_for_inputs();
  if constexpr (kGated) {
    float dot = 0;
    if (inside) {
      float gate[kVec];
      unpack(load<kVec>(static_cast<const T*>(shared.gate) + column), gate);
      unpack(load<kVec>(static_cast<const T*>(shared.x) + token * shared.x_stride + column), v);
#pragma unroll
      for (int c = 0; c < kVec; ++c) dot = fmaf(gate[c], v[c], dot);
    }
    dot = warp_sum(dot);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = dot;
  }
  const T* y = static_cast<const T*>(p.y) + column;
  for (int64_t first = 0; first < p.k; first += kAhead) {
    Vec<T, kVec> rows[kAhead];
    float weights[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t pair = token * p.k + first + j;
      const int64_t row = first + j < p.k ? p.positions[pair] : -1;
      const bool there = row >= 0 && row < p.rows;
      rows[j] = {}, weights[j] = there ? p.weights[pair] : 0.0f;
      if (there && inside) rows[j] = load<kVec>(y + row * p.y_stride);
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      unpack(rows[j], v);
#pragma unroll
      for (int c = 0; c < kVec; ++c) total[c] = fmaf(weights[j], v[c], total[c]);
    }
  }
  O* out = static_cast<O*>(p.out) + token * p.out_stride + column;
  Vec<T, kVec> beside = {};
  Vec<O, kVec> before = {};
  if (inside) {
    beside = load<kVec>(static_cast<const T*>(shared.y) + token * p.width + column);
    if (p.accumulate) before = load<kVec>(out);
  }
  float factor = 1;
  if constexpr (kGated) {
    __syncthreads();
    float dot = 0;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) dot += sums[w];
    factor = sigmoid(as_float(rounded<T>(dot)));
  }
  if (!inside) return;
  unpack(beside, v);
#pragma unroll
  for (int c = 0; c < kVec; ++c) total[c] = fmaf(factor, v[c], total[c]);
  unpack(before, v);
#pragma unroll
  for (int c = 0; c < kVec; ++c) total[c] = fmaf(p.alpha, total[c], v[c]);
  store(out, pack<O, kVec>(total));
}

__global__ void __launch_bounds__(kThreads) local_experts_kernel(const __grid_constant__ LocalExpertsParams p) {
  let_next_start();
  wait_for_inputs();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < p.pairs) p.ids[i] -= p.first;
}

}  // namespace

void run_route(const RouteParams& p, Context& context) { launch_route<1>(p, context); }

void run_local_experts(const LocalExpertsParams& p, Context& context) {
  launch(context, {.grid = ceil_div(p.pairs, kThreads), .block = kThreads}, local_experts_kernel, p);
}

void run_sort_by_expert(const SortByExpertParams& p, Context& context) {
  constexpr int64_t kFewPairs = 4096;
  if (p.pairs > kFewPairs && p.pairs <= expert_sort::kMostPairs && context.clusters()) {
    return launch(context,
                  {.grid = expert_sort::kBlocks * expert_sort::kParts,
                   .block = expert_sort::kWarps * 32,
                   .shared_bytes = expert_sort::many_bytes(p.experts),
                   .cluster = expert_sort::kBlocks},
                  expert_sort::many_kernel, p);
  }
  p.pairs <= kFewPairs ? launch(context, {.grid = p.experts + 1, .block = 256}, expert_sort::few_kernel<8>, p)
                       : launch(context, {.grid = p.experts + 1, .block = 1024}, expert_sort::few_kernel<32>, p);
}

void run_moe_combine(const MoeCombineParams& params, Context& context) {
  const bool wide = params.width % kVec == 0 && rows_of_eights(params.y, params.y_stride) &&
                    rows_of_eights(params.out, params.out_stride);
  const int64_t pieces = ceil_div(params.width, wide ? kVec : 1);
  const int64_t most = std::max<int64_t>(1, (int64_t{1} << 31) / pieces);  // tokens of a launch: 32-bit indices
  with_float_type(params.y_dtype, [&](auto t) {
    with_float_type(params.out_dtype, [&](auto o) {
      using T = decltype(t);
      using O = decltype(o);
      for (int64_t first = 0; first < params.tokens; first += most) {
        MoeCombineParams p = params;
        p.tokens = std::min(most, params.tokens - first);
        p.weights += first * p.k, p.positions += first * p.k;
        p.out = static_cast<char*>(p.out) + first * p.out_stride * static_cast<int64_t>(sizeof(O));
        launch(context, {.grid = ceil_div(p.tokens * pieces, kThreads), .block = kThreads},
               wide ? moe_combine_kernel<T, O, kVec> : moe_combine_kernel<T, O, 1>, p);
      }
    });
  });
}

bool combines_shared(const MoeCombineParams& p, const SharedRows& shared) {
  return (p.out_dtype == DType::f32 || p.out_dtype == p.y_dtype) && p.width % kVec == 0 &&
         p.width <= kMostThreads * kVec && rows_of_eights(p.y, p.y_stride) && rows_of_eights(p.out, p.out_stride) &&
         rows_of_eights(shared.y, 0) && rows_of_eights(shared.x, shared.x_stride) && rows_of_eights(shared.gate, 0);
}

void run_moe_combine_shared(const MoeCombineParams& p, const SharedRows& shared, Context& context) {
  const auto threads = static_cast<unsigned>(ceil_div(p.width, 32 * kVec) * 32);
  with_float_type(p.y_dtype, [&](auto t) {
    using T = decltype(t);
    const auto run = [&]<class O>() {
      launch(context, {.grid = p.tokens, .block = threads},
             shared.gate ? combine_shared_kernel<T, O, true> : combine_shared_kernel<T, O, false>, p, shared);
    };
    p.out_dtype == DType::f32 ? run.template operator()<float>() : run.template operator()<T>();
  });
}

}  // namespace mamba::cuda
