#pragma once
// A warp chooses the experts of one token: moe.cu says how.
#include "cuda/vec.cuh"
#include "ops/moe.h"

namespace mamba::cuda {

inline constexpr unsigned kWholeWarp = 0xffffffffu;

__device__ __forceinline__ float lowest() { return __int_as_float(static_cast<int>(0xff800000)); }
__device__ __forceinline__ float number_or_lowest(float x) { return x == x ? x : lowest(); }

// In the order of floats, above zero for every one.
__device__ __forceinline__ uint32_t ordered(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);  // no -0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kWholeWarp, x, step));
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

// Bytes of a warp's memory for groups.
__host__ __device__ inline size_t groups_bytes(const RouteParams& p) {
  return p.groups > 1 ? sizeof(float) * 2 * static_cast<size_t>(p.experts) : 0;
}

// `scores`: on entry the logits of experts lane, lane + 32, ..., the lowest float where there is none. `memory`:
// groups_bytes of shared memory.
template <int Each>
__device__ __forceinline__ void choose_experts(const RouteParams& p, float (&scores)[Each], float* memory, int32_t* ids,
                                               float* weights) {
  const int lane = threadIdx.x % 32, experts = static_cast<int>(p.experts);
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
  const Groups groups = {p, memory, memory + experts};
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
  float total = 0, mine = 0;  // mine, chosen: the lane-th of the choice
  int32_t chosen = -1;
  for (int64_t j = 0; j < p.k; ++j) {
    uint32_t best = 0, expert = kWholeWarp;
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      if (ranked[i] > best) best = ranked[i], expert = i * 32 + lane;
    }
    const uint32_t most = __reduce_max_sync(kWholeWarp, best);
    expert = __reduce_min_sync(kWholeWarp, best == most ? expert : kWholeWarp);
    float weight = 0;
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      if (i * 32 + lane == expert) weight = scores[i], ranked[i] = 0;
    }
    weight = __shfl_sync(kWholeWarp, weight, expert % 32);
    total += weight;
    if (lane == j) chosen = static_cast<int32_t>(expert), mine = weight;
    if (j >= 32 && lane == 0) ids[j] = static_cast<int32_t>(expert), weights[j] = weight;
  }
  __syncwarp();
  const float factor = p.normalise ? p.scale / (total + 1e-20f) : p.scale;
  if (lane < p.k) ids[lane] = chosen, weights[lane] = mine * factor;
  for (int64_t j = 32 + lane; j < p.k; j += 32) weights[j] *= factor;
}

// The same for a token of padding.
__device__ __forceinline__ void choose_none(const RouteParams& p, int32_t* ids, float* weights) {
  for (int64_t j = threadIdx.x % 32; j < p.k; j += 32) ids[j] = -1, weights[j] = 0;
}

}  // namespace mamba::cuda
