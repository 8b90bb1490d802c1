// route, sort_by_expert and moe_combine on CUDA. Nothing is read back: what they decide stays on the device.
//
// route. A warp has a token, lane l the experts l, l + 32, ... in registers. The k best are found one by one: two
// reductions of the warp, for the largest score and for its lowest expert. Groups go through shared memory, where a
// lane has a group. Bound. The latency of the 2 k reductions, some 10 us for k = 22; with many tokens, the logits.
//
// sort_by_expert. A block has an expert and reads all ids: the smaller ones give its offset, the equal ones, counted
// in a run for each warp and then by ballots, the order of its rows. No atomics, so the order is that of the pairs.
// One block more has the padding. Bound. Latency; with many tokens, experts times the ids, from L1 and L2.
//
// moe_combine. A thread has eight columns of a token and adds the rows of its pairs in their order. Bound. Bytes.
#include <algorithm>

#include "core/float_type.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
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
  choose_experts(p, scores, route_memory + warp * 2 * experts, ids, weights);
}

template <int Each>
void launch_route(const RouteParams& p, Context& context) {
  if constexpr (Each < 32) {
    if (p.experts > 32 * Each) return launch_route<2 * Each>(p, context);
  }
  launch(context,
         {.grid = static_cast<unsigned>(ceil_div(p.tokens, kWarps)),
          .block = kWarps * 32,
          .shared_bytes = kWarps * groups_bytes(p)},
         route_kernel<Each>, p);
}

// --- sort_by_expert -------------------------------------------------------------------------------------------------
template <int Warps>
__global__ void __launch_bounds__(Warps * 32) sort_by_expert_kernel(const __grid_constant__ SortByExpertParams p) {
  __shared__ int smaller[Warps], equal[Warps];
  const int expert = blockIdx.x, experts = static_cast<int>(p.experts);  // blockIdx.x = experts: the padding
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, pairs = static_cast<int>(p.pairs);
  const int run = ((pairs + Warps - 1) / Warps + 31) / 32 * 32, begin = min(warp * run, pairs);
  const int end = min(begin + run, pairs);
  // -1 behind the last: smaller than every expert, so it is not counted among those.
  const auto expert_of = [&](int pair) {
    const int e = pair < end ? p.ids[pair] : -1;
    return e >= 0 && e < experts ? e : pair < end ? experts : -1;
  };
  let_next_start();
  wait_for_inputs();
  int less = 0, same = 0;
#pragma unroll 8
  for (int i = begin; i < end; i += 32) {
    const int e = expert_of(i + lane);
    less += e >= 0 && e < expert, same += e == expert;
  }
  less = __reduce_add_sync(kWholeWarp, less), same = __reduce_add_sync(kWholeWarp, same);
  if (lane == 0) smaller[warp] = less, equal[warp] = same;
  __syncthreads();
  int offset = 0, row = 0;
  for (int w = 0; w < Warps; ++w) {
    offset += smaller[w];
    row += w < warp ? equal[w] : 0;
  }
  row += offset;
  if (threadIdx.x == 0) p.offsets[expert] = offset;
  if (same == 0) return;
#pragma unroll 4
  for (int i = begin; i < end; i += 32) {
    const bool mine = expert_of(i + lane) == expert;
    const unsigned all = __ballot_sync(kWholeWarp, mine);
    if (mine) {
      const int at = row + __popc(all & ((1u << lane) - 1));
      p.row_token[at] = expert < experts ? static_cast<int>((i + lane) / p.k) : -1;
      p.positions[i + lane] = expert < experts ? at : -1;
    }
    row += __popc(all);
  }
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

__global__ void __launch_bounds__(kThreads) local_experts_kernel(const __grid_constant__ LocalExpertsParams p) {
  let_next_start();
  wait_for_inputs();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < p.pairs) p.ids[i] -= p.first;
}

bool vectors(const void* at, int64_t stride) { return reinterpret_cast<uintptr_t>(at) % 16 == 0 && stride % kVec == 0; }

}  // namespace

void run_route(const RouteParams& p, Context& context) { launch_route<1>(p, context); }

void run_local_experts(const LocalExpertsParams& p, Context& context) {
  launch(context, {.grid = static_cast<unsigned>(ceil_div(p.pairs, kThreads)), .block = kThreads}, local_experts_kernel,
         p);
}

void run_sort_by_expert(const SortByExpertParams& p, Context& context) {
  constexpr int64_t kFewPairs = 4096;
  const auto blocks = static_cast<unsigned>(p.experts + 1);
  p.pairs <= kFewPairs ? launch(context, {.grid = blocks, .block = 256}, sort_by_expert_kernel<8>, p)
                       : launch(context, {.grid = blocks, .block = 1024}, sort_by_expert_kernel<32>, p);
}

void run_moe_combine(const MoeCombineParams& params, Context& context) {
  const bool wide =
      params.width % kVec == 0 && vectors(params.y, params.y_stride) && vectors(params.out, params.out_stride);
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
        launch(context, {.grid = static_cast<unsigned>(ceil_div(p.tokens * pieces, kThreads)), .block = kThreads},
               wide ? moe_combine_kernel<T, O, kVec> : moe_combine_kernel<T, O, 1>, p);
      }
    });
  });
}

}  // namespace mamba::cuda
