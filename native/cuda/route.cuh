#pragma once
// A warp chooses the experts of one token: moe.cu says how.
//
// For one token the time is a lone warp's, which runs most of this once: what is done for each expert is as little as
// it can be. Where the weights of the chosen are normalised, a softmax takes the exponents of those only, and their
// order is that of the logits.
#include "cuda/vec.cuh"
#include "ops/moe.h"

namespace mamba::cuda {

__device__ __forceinline__ float lowest() { return __int_as_float(static_cast<int>(0xff800000)); }
__device__ __forceinline__ float number_or_lowest(float x) { return x == x ? x : lowest(); }

// In the order of floats, above zero for every one.
__device__ __forceinline__ uint32_t ordered(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);  // no -0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
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

// What the experts of a lane, lane, lane + 32, ..., have added for the selection: weights, so they may be read early.
template <int Each>
__device__ __forceinline__ void load_biases(const RouteParams& p, float (&biases)[Each]) {
#pragma unroll
  for (int i = 0; i < Each; ++i) {
    const int expert = i * 32 + static_cast<int>(threadIdx.x) % 32;
    biases[i] = p.bias && expert < p.experts ? __ldg(p.bias + expert) : 0.0f;
  }
}

// `scores`: on entry the logits of experts lane, lane + 32, ..., the lowest float where there is none. `memory`:
// groups_bytes of shared memory.
template <int Each>
__device__ __forceinline__ void choose_experts(const RouteParams& p, float (&scores)[Each], const float (&biases)[Each],
                                               float* memory, int32_t* ids, float* weights) {
  const int lane = threadIdx.x % 32, experts = static_cast<int>(p.experts), k = static_cast<int>(p.k);
  // Then the logits' order is the choice, and what is not chosen does not count.
  const bool of_chosen = p.score == RouterScore::softmax && p.normalise && !p.bias && p.groups == 1 && k <= 32;
  if (p.score == RouterScore::sigmoid) {
#pragma unroll
    for (int i = 0; i < Each; ++i) scores[i] = __fdividef(1.0f, 1.0f + expf(-scores[i]));
  } else if (!of_chosen) {
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
  }
  uint32_t ranked[Each];  // 0: taken, dropped or no expert
#pragma unroll
  for (int i = 0; i < Each; ++i) {
    ranked[i] = i * 32 + lane < experts ? ordered(number_or_lowest(scores[i] + biases[i])) : 0;
  }
  if (p.groups > 1) {
    const Groups groups = {p, memory, memory + experts};
    const int size = experts / static_cast<int>(p.groups);
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      const int e = i * 32 + lane;
      if (e < experts) groups.ranked[e] = number_or_lowest(scores[i] + biases[i]);
    }
    __syncwarp();
    groups.score(lane);
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      const int e = i * 32 + lane;
      if (e < experts && groups.ranked[e / size] == 0.0f) ranked[i] = 0;
    }
  }
  const auto score_of = [&](uint32_t expert) {  // lanes may ask for different ones
    float score = 0;
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      const float of_lane = __shfl_sync(~0u, scores[i], expert % 32);
      if (expert / 32 == i) score = of_lane;
    }
    return score;
  };
  uint32_t chosen = 0;  // the lane-th of the choice
  float beyond = 0;     // the sum of those that no lane has
#pragma unroll 1
  for (int j = 0; j < k; ++j) {
    uint32_t best = ranked[0], expert = lane;
#pragma unroll
    for (int i = 1; i < Each; ++i) {
      if (ranked[i] > best) best = ranked[i], expert = i * 32 + lane;
    }
    const uint32_t most = __reduce_max_sync(~0u, best);
    expert = __reduce_min_sync(~0u, best == most ? expert : ~0u);
#pragma unroll
    for (int i = 0; i < Each; ++i) {
      if (i * 32 + lane == expert) ranked[i] = 0;
    }
    if (lane == j) chosen = expert;
    if (j < 32) continue;
    const float weight = score_of(expert);
    beyond += weight;
    if (lane == 0) ids[j] = static_cast<int32_t>(expert), weights[j] = weight;
  }
  float mine = score_of(chosen);
  if (of_chosen) mine = expf(mine - __shfl_sync(~0u, mine, 0));
  const float total = warp_sum(lane < k ? mine : 0.0f) + beyond;
  const float factor = p.normalise ? p.scale / (total + 1e-20f) : p.scale;
  __syncwarp();
  if (lane < k) ids[lane] = static_cast<int32_t>(chosen), weights[lane] = mine * factor;
  for (int j = 32 + lane; j < k; j += 32) weights[j] *= factor;
}

// The same for a token of padding.
__device__ __forceinline__ void choose_none(const RouteParams& p, int32_t* ids, float* weights) {
  for (int64_t j = threadIdx.x % 32; j < p.k; j += 32) ids[j] = -1, weights[j] = 0;
}

}  // namespace mamba::cuda
