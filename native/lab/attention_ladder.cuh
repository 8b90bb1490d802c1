#pragma once
// Versions of the Hopper kernels, by the parameters of their shapes.
#include "cuda/attention_decode.cuh"
#include "cuda/attention_walk.cuh"

namespace lab {

using mamba::cuda::Context;
using mamba::cuda::attention::DecodeShape;
using mamba::cuda::attention::Job;
using mamba::cuda::attention::WalkShape;

// The last argument: tokens of q, or items.
struct Version {
  const char* name;
  int head_dim, tile;
  bool codes;
  bool (*launch)(const Job&, int64_t, Context&);
};

// head_dim, keys, groups of four warps, stages of K, of V, of q
#define WALK(...)                                                                         \
  Version {                                                                               \
#__VA_ARGS__, WalkShape < __VA_ARGS__> ::kD, WalkShape < __VA_ARGS__> ::kRows, false, \
        mamba::cuda::attention::launch_walk < __nv_bfloat16, WalkShape < __VA_ARGS__>>    \
  }
// codes, padded head_dim, keys, warps, stages of each
#define DECODE(...)                                                                        \
  Version {                                                                                \
#__VA_ARGS__, DecodeShape < __VA_ARGS__> ::kD, 0, DecodeShape < __VA_ARGS__> ::kCodes, \
        mamba::cuda::attention::launch_decode < __nv_bfloat16, DecodeShape < __VA_ARGS__>> \
  }

inline const Version kWalks[] = {
    WALK(64, 128, 2, 2, 2, 2),  WALK(64, 128, 3, 2, 2, 2),  WALK(64, 96, 3, 3, 3, 2),  WALK(80, 128, 2, 2, 2, 2),
    WALK(80, 96, 3, 2, 2, 1),   WALK(96, 128, 2, 2, 2, 2),  WALK(96, 96, 3, 2, 2, 1),  WALK(112, 128, 2, 2, 2, 2),
    WALK(128, 128, 2, 2, 2, 2), WALK(128, 160, 2, 2, 2, 1), WALK(160, 96, 2, 2, 2, 1), WALK(160, 64, 2, 2, 2, 1),
    WALK(192, 80, 2, 2, 2, 1),  WALK(192, 64, 2, 2, 2, 1),  WALK(224, 80, 2, 2, 2, 1), WALK(224, 64, 2, 2, 2, 1),
    WALK(256, 80, 2, 2, 2, 1),  WALK(256, 64, 2, 2, 2, 1),
};
inline const Version kDecodes[] = {
    DECODE(false, 64, 32, 8, 3),  DECODE(false, 64, 64, 4, 3),   DECODE(false, 128, 32, 4, 3),
    DECODE(false, 128, 32, 7, 2), DECODE(false, 128, 16, 7, 4),  DECODE(false, 128, 64, 3, 2),
    DECODE(false, 128, 32, 6, 2), DECODE(false, 128, 16, 12, 2), DECODE(false, 256, 32, 3, 2),
    DECODE(false, 256, 16, 7, 2), DECODE(true, 64, 32, 14, 2),   DECODE(true, 128, 64, 4, 3),
    DECODE(true, 128, 32, 8, 3),  DECODE(true, 128, 32, 14, 2),  DECODE(true, 128, 64, 7, 2),
    DECODE(true, 256, 32, 4, 3),  DECODE(true, 256, 32, 7, 2),
};
#undef WALK
#undef DECODE

}  // namespace lab
