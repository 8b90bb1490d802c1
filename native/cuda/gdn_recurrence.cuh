#pragma once
// The recurrence of ops/gdn.h itself, token by token in float on CUDA cores: any types, sizes and strides.
//
// Mapping. A block has kTile channels at most of one (sequence, value head), whose state is in shared memory as floats;
// a warp has every eighth channel, its lanes lie along the key dimension. Query and key of a token are normalised by
// the block.
//
// Bound. Latency: two sums over a warp and two barriers for each token.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "core/error.h"
#include "cuda/dispatch.h"
#include "cuda/gdn_gates.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/gdn.h"

namespace mamba::cuda::gdn {

inline constexpr int kThreads = 256, kWarps = kThreads / 32;
inline constexpr int64_t kStateBytes = 64 << 10;  // of a block

// The tokens of a sequence of gdn_chunk, or of a row of gdn_update.
struct Span {
  int64_t begin, end, slot;
  bool initial_state;
};

__device__ __forceinline__ Span span_of(const GdnChunkParams& p, int64_t sequence) {
  return {p.query_start_loc[sequence], p.query_start_loc[sequence + 1], p.slots[sequence],
          p.has_initial_state[sequence] != 0};
}
__device__ __forceinline__ Span span_of(const GdnUpdateParams& p, int64_t row) {
  return {row * p.tokens_per_row, (row + 1) * p.tokens_per_row, p.slots[row], true};
}

// The slot that gets the state after token `end` - 1 too; none where it is outside the pool.
__device__ __forceinline__ int64_t snapshot_after(const GdnChunkParams& p, int64_t end, int64_t* chunk) {
  if (p.cu_chunk_seqlens[*chunk + 1] != end) return -1;
  const int64_t slot = p.chunk_slots ? p.chunk_slots[*chunk] : -1;
  ++*chunk;
  return slot < p.slots_in_pool ? slot : -1;
}
__device__ __forceinline__ int64_t snapshot_after(const GdnUpdateParams&, int64_t, int64_t*) { return -1; }
__device__ __forceinline__ int64_t first_chunk(const GdnChunkParams& p, int64_t sequence) {
  return sequence == 0 ? 0 : p.last_chunk[sequence - 1] + 1;
}
__device__ __forceinline__ int64_t first_chunk(const GdnUpdateParams&, int64_t) { return 0; }

// Between two tokens the state of gdn_update is rounded, as by two calls.
__device__ __forceinline__ bool rounds_each_token(const GdnChunkParams&) { return false; }
__device__ __forceinline__ bool rounds_each_token(const GdnUpdateParams&) { return true; }

__device__ __forceinline__ float rounded(DType type, float v) {
  return type == DType::bf16  ? __bfloat162float(__float2bfloat16(v))
         : type == DType::f16 ? __half2float(__float2half(v))
                              : v;
}

// A warp: dst = x scale / sqrt(sum x^2 + eps).
__device__ __forceinline__ void normalise(const void* x, DType type, int64_t at, int count, float eps, float scale,
                                          float* dst) {
  float squares = 0;
  for (int i = threadIdx.x % 32; i < count; i += 32) {
    const float v = load_any(x, type, at + i);
    squares = fmaf(v, v, squares);
  }
  const float factor = scale / sqrtf(warp_sum(squares) + eps);
  for (int i = threadIdx.x % 32; i < count; i += 32) dst[i] = load_any(x, type, at + i) * factor;
}

// Where a token's inputs of one value head begin: an array, and which of its elements.
struct TokenInputs {
  struct At {
    const void* data;
    int64_t first;
  };
  At q, k, v, a, b;
};

// The block's shared memory: [key_dim], [key_dim], [channels, key_dim].
struct Shared {
  float *q, *k, *state;
};

// One token through the block's channels of a head. put(channel, value) of one lane gets what the query reads.
template <class Params, class Put>
__device__ __forceinline__ void take_token(const Params& p, const TokenInputs& from, int64_t head, int channels,
                                           const Shared& shared, bool rounds, Put put) {
  const int key_dim = static_cast<int>(p.key_dim), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const auto [q, k, state] = shared;
  __syncthreads();
  if (warp == 0) normalise(from.q.data, p.dtype, from.q.first, key_dim, p.eps, p.scale, q);
  if (warp == 1) normalise(from.k.data, p.dtype, from.k.first, key_dim, p.eps, 1, k);
  const float a = load_any(from.a.data, p.gate_dtype, from.a.first) + p.dt_bias[head];
  const float keep = expf(p.decay[head] * softplus(a));
  const float write = beta_of(load_any(from.b.data, p.gate_dtype, from.b.first));
  __syncthreads();
  for (int c = warp; c < channels; c += kWarps) {
    float* row = state + c * key_dim;
    float found = 0;
    for (int i = lane; i < key_dim; i += 32) found = fmaf(row[i], k[i], found);
    const float v = load_any(from.v.data, p.dtype, from.v.first + c);
    const float error = write * (v - keep * warp_sum(found));
    float read = 0;
    for (int i = lane; i < key_dim; i += 32) {
      const float s = fmaf(error, k[i], keep * row[i]);
      read = fmaf(s, q[i], read);
      row[i] = rounds ? rounded(p.state_dtype, s) : s;
    }
    read = warp_sum(read);
    if (lane == 0) put(c, read);
  }
}

template <class Params>
__global__ __launch_bounds__(kThreads) void recurrence_kernel(const __grid_constant__ Params p, int tile) {
  extern __shared__ float shared[];
  const int key_dim = static_cast<int>(p.key_dim);
  float *q = shared, *k = q + key_dim, *state = k + key_dim;
  wait_for_inputs();
  let_next_start();
  const int64_t tiles = (p.value_dim + tile - 1) / tile;
  const int64_t first = blockIdx.x % tiles * tile, head = blockIdx.x / tiles % p.value_heads;
  const Span span = span_of(p, blockIdx.x / tiles / p.value_heads);
  const int channels = static_cast<int>(p.value_dim - first < tile ? p.value_dim - first : tile);
  if (span.begin == span.end) return;
  if (span.slot < 0 || span.slot >= p.slots_in_pool) {
    for (int64_t i = threadIdx.x; i < (span.end - span.begin) * channels; i += kThreads) {
      store_any(p.out, p.dtype, (span.begin + i / channels) * p.out_stride + head * p.value_dim + first + i % channels,
                0);
    }
    return;
  }
  const int64_t in_slot = (head * p.value_dim + first) * key_dim;
  for (int i = threadIdx.x; i < channels * key_dim; i += kThreads) {
    const int64_t at = span.slot * p.state_slot_stride + in_slot + i;
    state[i] = span.initial_state ? load_any(p.state, p.state_dtype, at) : 0.0f;
  }
  const auto store_state = [&](int64_t slot) {
    __syncthreads();
    for (int i = threadIdx.x; i < channels * key_dim; i += kThreads) {
      store_any(p.state, p.state_dtype, slot * p.state_slot_stride + in_slot + i, state[i]);
    }
  };
  int64_t chunk = first_chunk(p, blockIdx.x / tiles / p.value_heads);
  const int64_t key_head = head / (p.value_heads / p.key_heads);
  for (int64_t t = span.begin; t < span.end; ++t) {
    const TokenInputs inputs = {{p.q, t * p.q_stride + key_head * key_dim},
                                {p.k, t * p.k_stride + key_head * key_dim},
                                {p.v, t * p.v_stride + head * p.value_dim + first},
                                {p.a, t * p.a_stride + head},
                                {p.b, t * p.b_stride + head}};
    take_token(p, inputs, head, channels, {q, k, state}, rounds_each_token(p), [&](int c, float read) {
      store_any(p.out, p.dtype, t * p.out_stride + head * p.value_dim + first + c, read);
    });
    const int64_t snapshot = snapshot_after(p, t + 1, &chunk);
    if (snapshot >= 0) store_state(snapshot);
  }
  store_state(span.slot);
}

struct GdnTileSizes {
  int64_t sequences, value_heads, key_dim, value_dim;
};

// launch_tiles(a LaunchShape, channels of a block) for so many sequences or rows. Throws where a row of the state is
// too long.
template <class Launch>
void for_tiles(const GdnTileSizes& sizes, const char* op, Launch launch_tiles) {
  const int64_t row_bytes = sizes.key_dim * static_cast<int64_t>(sizeof(float));
  const int64_t tile = std::clamp<int64_t>(kStateBytes / std::max<int64_t>(row_bytes, 1), 1, sizes.value_dim);
  if (3 * row_bytes > kStateBytes) {
    throw Error(ErrorCode::Shape, op,
                "key_dim = " + std::to_string(sizes.key_dim) + ", a CUDA device takes up to 5461");
  }
  launch_tiles({.grid = sizes.sequences * sizes.value_heads * ceil_div(sizes.value_dim, tile),
                .block = kThreads,
                .shared_bytes = static_cast<size_t>((tile + 2) * row_bytes)},
               static_cast<int>(tile));
}

template <class Params>
void launch_recurrence(const Params& p, int64_t sequences, const char* op, Context& context) {
  for_tiles({sequences, p.value_heads, p.key_dim, p.value_dim}, op,
            [&](const LaunchShape& shape, int tile) { launch(context, shape, recurrence_kernel<Params>, p, tile); });
}

}  // namespace mamba::cuda::gdn
