// route, sort_by_expert and moe_combine on CUDA. Nothing is read back: what they decide stays on the device.
//
// route. A warp has a token, lane l the experts l, l + 32, ... in registers. The k best are found one by one: two
// reductions of the warp, for the largest score and for its lowest expert. Groups go through shared memory, where a
// lane has a group. Bound. The latency of the 2 k reductions, some 10 us for k = 22; with many tokens, the logits.
//
// sort_by_expert. A block has an expert and reads all ids: the smaller ones give its offset, the equal ones, counted
// in runs of each thread and a scan over those, the order of its rows. No atomics, so the order is that of the pairs.
// One block more has the padding. Bound. Latency; with many tokens, experts times the ids, from L1 and L2.
//
// moe_combine. A thread has eight columns of a token and adds the rows of its pairs in their order. Bound. Bytes.
#include <algorithm>

#include "core/float_type.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"

namespace mamba::cuda {
namespace {

constexpr unsigned kAll = 0xffffffffu;

// --- route ----------------------------------------------------------------------------------------------------------
constexpr int kWarps = 4;

__device__ __forceinline__ float lowest() { return __int_as_float(static_cast<int>(0xff800000)); }
__device__ __forceinline__ float number_or_lowest(float x) { return x == x ? x : lowest(); }

// In the order of floats, above zero for every one.
__device__ __forceinline__ uint32_t ordered(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);  // no -0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kAll, x, step));
  return x;
}

// Shared memory of a warp: the scores that count for the selection, and those of the groups, each `experts` long.
struct Groups {
  const RouteParams& p;
  float *ranked, *scores;

  // Whether a group is among the best: fewer than kept_groups are before it.
  __device__ bool kept(int group) const {
    int before = 0;
    for (int g = 0; g < p.groups; ++g) {
      before += scores[g] > scores[group] || (scores[g] == scores[group] && g < group);
    }
    return before < p.kept_groups;
  }
  __device__ void score(int lane) const {
    const int size = static_cast<int>(p.experts / p.groups);
    for (int g = lane; g < p.groups; g += 32) {
      float best = lowest(), second = lowest();
      for (int i = 0; i < size; ++i) {
        const float x = ranked[g * size + i];
        second = fmaxf(second, fminf(best, x)), best = fmaxf(best, x);
      }
      scores[g] = number_or_lowest(best + second);
    }
    __syncwarp();
    // The flags take the place of the scores that they are made of.
    for (int g = lane; g < p.groups; g += 32) ranked[g] = kept(g) ? 1.0f : 0.0f;
    __syncwarp();
  }
};

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
  if (p.slots && p.slots[token] < 0) {
    for (int64_t j = lane; j < p.k; j += 32) ids[j] = -1, weights[j] = 0;
    return;
  }
  const float* logits = p.logits + token * p.logits_stride;
  float scores[Each];
#pragma unroll
  for (int i = 0; i < Each; ++i) {
    scores[i] = i * 32 + lane < experts ? number_or_lowest(logits[i * 32 + lane]) : lowest();
  }
  if (p.score == RouterScore::softmax) {
    float peak = lowest(), total = 0;
#pragma unroll
    for (int i = 0; i < Each; ++i) peak = fmaxf(peak, scores[i]);
    peak = warp_max(peak);
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      scores[i] = i * 32 + lane < experts ? expf(scores[i] - peak) : 0.0f;
      total += scores[i];
    }
    total = warp_sum(total);
#pragma unroll
    for (int i = 0; i < Each; ++i) scores[i] /= total;
  } else {
#pragma unroll
    for (int i = 0; i < Each; ++i) scores[i] = 1.0f / (1.0f + expf(-scores[i]));
  }
  uint32_t ranked[Each];  // 0: taken, dropped or no expert
  const Groups groups = {p, route_memory + warp * 2 * experts, route_memory + (warp * 2 + 1) * experts};
#pragma unroll
  for (int i = 0; i < Each; ++i) {
    const int e = i * 32 + lane;
    const float value = number_or_lowest(p.bias && e < experts ? scores[i] + __ldg(p.bias + e) : scores[i]);
    ranked[i] = e < experts ? ordered(value) : 0;
    if (p.groups > 1 && e < experts) groups.ranked[e] = value;
  }
  if (p.groups > 1) {
    __syncwarp();
    groups.score(lane);
    const int size = static_cast<int>(p.experts / p.groups);
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      const int e = i * 32 + lane;
      if (e < experts && groups.ranked[e / size] == 0.0f) ranked[i] = 0;
    }
  }
  float total = 0;
  for (int64_t j = 0; j < p.k; ++j) {
    uint32_t best = 0, expert = kAll;
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      if (ranked[i] > best) best = ranked[i], expert = i * 32 + lane;
    }
    const uint32_t most = __reduce_max_sync(kAll, best);
    expert = __reduce_min_sync(kAll, best == most ? expert : kAll);
    float weight = 0;
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      if (i * 32 + lane == expert) weight = scores[i], ranked[i] = 0;
    }
    weight = __shfl_sync(kAll, weight, expert % 32);
    total += weight;
    if (lane == 0) ids[j] = static_cast<int32_t>(expert), weights[j] = weight;
  }
  __syncwarp();
  const float factor = p.normalise ? p.scale / (total + 1e-20f) : p.scale;
  for (int64_t j = lane; j < p.k; j += 32) weights[j] *= factor;
}

template <int Each>
void launch_route(const RouteParams& p, Context& context) {
  if constexpr (Each < 32) {
    if (p.experts > 32 * Each) return launch_route<2 * Each>(p, context);
  }
  const size_t shared = p.groups > 1 ? sizeof(float) * 2 * kWarps * static_cast<size_t>(p.experts) : 0;
  launch(context,
         {.grid = static_cast<unsigned>(ceil_div(p.tokens, kWarps)), .block = kWarps * 32, .shared_bytes = shared},
         route_kernel<Each>, p);
}

// --- sort_by_expert -------------------------------------------------------------------------------------------------
// The sum over the threads before this one, and that over all.
template <int Threads>
__device__ __forceinline__ int2 block_scan(int count, int (&sums)[Threads / 32]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int sum = count;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(kAll, sum, step);
    if (lane >= step) sum += other;
  }
  __syncthreads();
  if (lane == 31) sums[warp] = sum;
  __syncthreads();
  int before = 0, total = 0;
#pragma unroll
  for (int w = 0; w < Threads / 32; ++w) {
    before += w < warp ? sums[w] : 0;
    total += sums[w];
  }
  return {before + sum - count, total};
}

template <int Threads>
__global__ void __launch_bounds__(Threads) sort_by_expert_kernel(const __grid_constant__ SortByExpertParams p) {
  __shared__ int sums[Threads / 32];
  const int expert = blockIdx.x, experts = static_cast<int>(p.experts);  // blockIdx.x = experts: the padding
  const int pairs = static_cast<int>(p.pairs), run = (pairs + Threads - 1) / Threads;
  const int begin = min(static_cast<int>(threadIdx.x) * run, pairs), end = min(begin + run, pairs);
  const auto expert_of = [&](int pair) {
    const int e = p.ids[pair];
    return e >= 0 && e < experts ? e : experts;
  };
  let_next_start();
  wait_for_inputs();
  int less = 0, equal = 0;
#pragma unroll 4
  for (int i = begin; i < end; ++i) {
    const int e = expert_of(i);
    less += e < expert, equal += e == expert;
  }
  const int offset = block_scan<Threads>(less, sums).y;
  const int2 mine = block_scan<Threads>(equal, sums);
  if (threadIdx.x == 0) p.offsets[expert] = offset;
  if (mine.y == 0) return;
  int row = offset + mine.x;
#pragma unroll 4
  for (int i = begin; i < end; ++i) {
    if (expert_of(i) != expert) continue;
    p.row_token[row] = expert < experts ? static_cast<int>(i / p.k) : -1;
    p.positions[i] = expert < experts ? row : -1;
    ++row;
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

bool vectors(const void* at, int64_t stride) { return reinterpret_cast<uintptr_t>(at) % 16 == 0 && stride % kVec == 0; }

}  // namespace

void run_route(const RouteParams& p, Context& context) { launch_route<1>(p, context); }

void run_sort_by_expert(const SortByExpertParams& p, Context& context) {
  constexpr int64_t kFewPairs = 4096;
  const auto blocks = static_cast<unsigned>(p.experts + 1);
  p.pairs <= kFewPairs ? launch(context, {.grid = blocks, .block = 256}, sort_by_expert_kernel<256>, p)
                       : launch(context, {.grid = blocks, .block = 1024}, sort_by_expert_kernel<1024>, p);
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
