#pragma once
// What the two matrix forms of ssd_chunk_scan share: how a block walks its tokens, 64 at a time ("steps", counted from
// the start of each chunk, so that the cut of a prompt at chunks changes no sum), the cut of sequences into segments,
// and what depends on dt only.
//
// Few (sequence, head) pairs cannot fill the chip, so a sequence can be cut into segments of whole chunks: kStates sums
// each segment's own contribution from a zero state (x and B only), combine_kernel turns them into the states before
// each segment, and kScan runs all segments at once.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "cuda/hopper.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/ssd.h"

namespace mamba::cuda {

// Segments of a sequence; 1 = none, without workspace.
struct ScanSplit {
  int segments;
  float* states;  // [sequences][segments][heads][head_dim][state_size]: first a segment's own, then the one before it
  float* decay;   // [sequences][segments][heads]: log2 of a segment's decay
};

enum class ScanPass { kStates, kScan };

namespace scan {

using hopper::pack_operands;

inline constexpr int kTokens = 64;  // of a step
// log2 of the decay of one token is not below it: such a token leaves nothing of the past in float anyway, and the sums
// stay short enough to be exact to 1e-3.
inline constexpr float kLeastTerm = -160.0f;

// Tokens of one item; first and last of it, or neither.
struct Position {
  int token, tokens, sequence, segment, head, channel, slot;
  int snapshot;  // a slot that gets the state after them too; none where it is outside the pool
  bool first, last;
};

// All steps of this block, in order. An item is (sequence, segment, head, kChannels channels).
template <int kChannels>
class Walk : public Position {
 public:
  __device__ Walk(const SsdChunkScanParams& params, int segments_, int walked_segments)
      : p(params), segments(segments_), walked(walked_segments) {
    tiles = static_cast<int>(p.head_dim + kChannels - 1) / kChannels;
    items = static_cast<int>(p.sequences * p.heads) * tiles * walked;
    item = blockIdx.x;
    item -= gridDim.x;
  }

  // False when there are no more.
  __device__ bool next() {
    if (token_end < chunk_end) {
      begin_step(token_end);
      first = false;
      return true;
    }
    if (++chunk < chunks_end) {
      chunk_end = next_chunk_end;
      begin_chunk(token_end);
      first = false;
      return true;
    }
    return next_item();
  }

  // The next item with tokens, at its first step; one of a padding sequence only if `padding`.
  __device__ bool next_item(bool padding = false) {
    for (item += gridDim.x; item < items; item += gridDim.x) {
      int i = item;
      channel = i % tiles * kChannels;
      i /= tiles;
      head = i % static_cast<int>(p.heads);
      i /= static_cast<int>(p.heads);
      segment = i % walked;
      sequence = i / walked;
      if (__ldg(p.query_start_loc + sequence) == __ldg(p.query_start_loc + sequence + 1)) continue;
      slot = __ldg(p.slots + sequence);
      if ((slot < 0 || slot >= p.slots_in_pool) != padding) continue;
      if (padding) return true;
      const int begin = sequence == 0 ? 0 : __ldg(p.last_chunk + sequence - 1) + 1;
      const int count = __ldg(p.last_chunk + sequence) + 1 - begin;
      chunk = begin + static_cast<int>(static_cast<int64_t>(count) * segment / segments);
      chunks_end = begin + static_cast<int>(static_cast<int64_t>(count) * (segment + 1) / segments);
      if (chunk == chunks_end) continue;
      chunk_end = __ldg(p.cu_chunk_seqlens + chunk + 1);
      begin_chunk(__ldg(p.cu_chunk_seqlens + chunk));
      first = true;
      return true;
    }
    return false;
  }

 private:
  const SsdChunkScanParams& p;
  int segments, walked, tiles, items, item;
  int chunk = 0, chunks_end = 0, chunk_end = 0, next_chunk_end = 0, token_end = 0;

  __device__ void begin_chunk(int begin) {
    if (chunk + 1 < chunks_end) next_chunk_end = __ldg(p.cu_chunk_seqlens + chunk + 2);  // used a chunk later
    begin_step(begin);
  }
  __device__ void begin_step(int begin) {
    token = begin;
    tokens = min(kTokens, chunk_end - begin);
    token_end = token + tokens;
    last = token_end == chunk_end && chunk + 1 == chunks_end;
    snapshot = token_end == chunk_end && p.chunk_slots ? __ldg(p.chunk_slots + chunk) : -1;
  }
};

// --- dt --------------------------------------------------------------------------------------------------------------

template <class T>
__device__ __forceinline__ float load_dt(const SsdChunkScanParams& p, int64_t token, int head) {
  const int64_t i = token * p.dt_stride + head;
  return p.dt_dtype == DType::f32 ? __ldg(static_cast<const float*>(p.dt) + i)
                                  : as_float(static_cast<const T*>(p.dt)[i]);
}
__device__ __forceinline__ float time_step(float dt, float bias, const SsdChunkScanParams& p) {
  dt += bias;
  if (p.dt_softplus) {
    const float e = fast_exp2(fminf(dt, kSoftplusThreshold) * kLog2e);
    const float series = e * fmaf(e, fmaf(e, 1.0f / 3, -0.5f), 1.0f);
    const float v = e < 0x1p-7f ? series : fast_log2(1.0f + e) * (1 / kLog2e);
    dt = dt <= kSoftplusThreshold ? v : dt;
  }
  dt = dt < p.dt_min ? p.dt_min : dt;  // a NaN stays one, here and in sum_steps
  return dt > p.dt_max ? p.dt_max : dt;
}

// What a warp knows of a step's time steps; a lane has tokens 2 lane and 2 lane + 1.
struct LaneSteps {
  float dt[2];
  float a[2];  // log2 of the decay since the start of the step
  float end;   // of the whole step
};

__device__ __forceinline__ LaneSteps sum_steps(const float (&raw)[2], float a_log2, float bias, int tokens,
                                               const SsdChunkScanParams& p) {
  const int lane = threadIdx.x % 32;
  LaneSteps s;
  float term[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    s.dt[i] = 2 * lane + i < tokens ? time_step(raw[i], bias, p) : 0.0f;
    const float log2_decay = s.dt[i] * a_log2;
    term[i] = log2_decay < kLeastTerm ? kLeastTerm : log2_decay;
  }
  float sum = term[0] + term[1];
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const float before = __shfl_up_sync(~0u, sum, d);
    if (lane >= d) sum += before;
  }
  float before = __shfl_up_sync(~0u, sum, 1);
  if (lane == 0) before = 0;
  s.a[0] = before + term[0];
  s.a[1] = sum;
  s.end = __shfl_sync(~0u, sum, 31);
  return s;
}

// --- states in memory ------------------------------------------------------------------------------------------------

template <class S>
__device__ __forceinline__ float2 load_pair(const S* p) {
  if constexpr (std::is_same_v<S, float>) {
    return *reinterpret_cast<const float2*>(p);
  } else {
    return hopper::unpack<S>(*reinterpret_cast<const uint32_t*>(p));
  }
}
template <class S>
__device__ __forceinline__ void store_pair(S* p, float a, float b) {
  if constexpr (std::is_same_v<S, float>) {
    *reinterpret_cast<float2*>(p) = {a, b};
  } else {
    *reinterpret_cast<uint32_t*>(p) = hopper::pack<S>(a, b);
  }
}

// use(S*) with the type of the state's elements.
template <class Use>
__device__ __forceinline__ void with_state_type(DType type, void* state, Use use) {
  if (type == DType::f32) {
    use(static_cast<float*>(state));
  } else if (type == DType::bf16) {
    use(static_cast<__nv_bfloat16*>(state));
  } else {
    use(static_cast<__half*>(state));
  }
}
__device__ __forceinline__ int state_bytes(DType type) { return type == DType::f32 ? 4 : 2; }

// Where an item's state comes from or goes to.
struct StatePlace {
  void* at;  // null: nowhere
  DType type;
};

__device__ __forceinline__ StatePlace slot_place(const SsdChunkScanParams& p, const Position& at, int64_t slot) {
  const int64_t i = slot * p.state_slot_stride + (at.head * p.head_dim + at.channel) * p.state_size;
  return {static_cast<uint8_t*>(p.state) + i * state_bytes(p.state_dtype), p.state_dtype};
}
__device__ __forceinline__ int64_t part_of(const SsdChunkScanParams& p, const ScanSplit& split, const Position& at) {
  return (static_cast<int64_t>(at.sequence) * split.segments + at.segment) * p.heads + at.head;
}
__device__ __forceinline__ StatePlace segment_place(const SsdChunkScanParams& p, const ScanSplit& split,
                                                    const Position& at) {
  return {split.states + (part_of(p, split, at) * p.head_dim + at.channel) * p.state_size, DType::f32};
}

template <ScanPass kPass>
__device__ __forceinline__ StatePlace place_before(const SsdChunkScanParams& p, const ScanSplit& split,
                                                   const Position& at) {
  if (kPass == ScanPass::kStates) return {nullptr, DType::f32};
  if (split.segments > 1) return segment_place(p, split, at);
  if (__ldg(p.has_initial_state + at.sequence) != 0) return slot_place(p, at, at.slot);
  return {nullptr, DType::f32};
}
template <ScanPass kPass>
__device__ __forceinline__ StatePlace place_after(const SsdChunkScanParams& p, const ScanSplit& split,
                                                  const Position& at) {
  if (kPass == ScanPass::kStates) return segment_place(p, split, at);
  if (at.segment == split.segments - 1) return slot_place(p, at, at.slot);
  return {nullptr, DType::f32};
}
template <ScanPass kPass>
__device__ __forceinline__ StatePlace snapshot_place(const SsdChunkScanParams& p, const Position& at) {
  if (kPass == ScanPass::kStates || at.snapshot < 0 || at.snapshot >= p.slots_in_pool) return {nullptr, DType::f32};
  return slot_place(p, at, at.snapshot);
}

// states[.][segment] from a segment's own to the state before it. One thread for each element of a head's state, 128
// of a head in a block; memory-bound, and small beside the passes around it.
inline constexpr int kCombineThreads = 128;
static __global__ void combine_kernel(const __grid_constant__ SsdChunkScanParams p,
                                      const __grid_constant__ ScanSplit split) {
  wait_for_inputs();
  let_next_start();
  const int64_t elements = p.head_dim * p.state_size;
  const int sequence = blockIdx.z, head = blockIdx.y;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kCombineThreads + threadIdx.x;
  const int slot = p.slots[sequence];
  if (i >= elements || slot < 0 || slot >= p.slots_in_pool) return;
  const int begin = sequence == 0 ? 0 : p.last_chunk[sequence - 1] + 1;
  const int64_t count = p.last_chunk[sequence] + 1 - begin;
  float state = 0;
  if (p.has_initial_state[sequence] != 0) {
    with_state_type(p.state_dtype, p.state, [&](const auto* from) {
      state = as_float(from[slot * p.state_slot_stride + head * elements + i]);
    });
  }
  for (int s = 0; s < split.segments; ++s) {
    if (count * s / split.segments == count * (s + 1) / split.segments) continue;
    const int64_t part = (static_cast<int64_t>(sequence) * split.segments + s) * p.heads + head;
    float* at = split.states + part * elements + i;
    float own = 0, decay = 0;
    if (s + 1 < split.segments) {
      own = *at;
      decay = fast_exp2(split.decay[part]);
    }
    *at = state;
    state = fmaf(decay, state, own);
  }
}

}  // namespace scan
}  // namespace mamba::cuda
