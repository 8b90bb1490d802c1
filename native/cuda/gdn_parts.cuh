#pragma once
// What the kernels of gdn_chunk for Hopper share: how sequences are cut, and what one kernel leaves for the next.
//
// The form. In a chunk of up to 64 tokens with S the state before it, G[t] the decay since its start, k' and q'
// normalised, and T = (I + A)^-1 diag(beta) with A[t][i] = beta[t] G[t] / G[i] k'[t] . k'[i] for i < t:
//   U   = T (V - diag(G) K' S^T)                                   what is written, a row for each token
//   out = diag(G) Q' S^T + M U,   M[t][i] = G[t] / G[i] q'[t] . k'[i] for i <= t
//   S  <- G[end] S + U^T diag(G[end] / G[i]) K'
// T and M depend on q, k and the gates alone: prepare_kernel makes them for all chunks at once. The rest is a chain
// over the chunks (walk_kernel).
//
// Segments. A long sequence is cut into `count` segments of about equally many whole chunks (GdnCut), by its own
// length. A first walk (GdnPass::states) takes all segments but the last at once, each from S = 0, and in the same way
// the matrix P that the segment multiplies any earlier S with (from S = I, V = 0). combine_kernel makes of them the
// states between segments, and a second walk (GdnPass::out) starts from those.
//
// Scratch. T and M lie where out will: the 64 rows of 128 elements of a chunk and head are rows of T and of M beside
// each other, read by the block that writes out, before it does. Workspace: gates, segments, and 128 KB for each
// segment.
#include "cuda/gdn_chunk.h"
#include "cuda/hopper.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/gdn.h"

namespace mamba::cuda {

struct GdnMaps {
  CUtensorMap q, k, v, out;  // (channel, head, token) in boxes of 64 x 1 x 64
};

namespace gdn {

enum class GdnPass { states, out };

inline constexpr int kTokens = 64;  // of a chunk
inline constexpr uint32_t kTileBytes = kTokens * 128;
// log2 of the decay of one token is not below it: such a token leaves nothing of the past in float anyway, and the sums
// stay short enough to be exact to 1e-3.
inline constexpr float kLeastTerm = -160.0f;

// The factors of a chunk and value head. A token past the chunk's last has zeros.
struct Gates {
  float y[kTokens];  // G / |k|
  float u[kTokens];  // G[end] / G / |k|
  float q[kTokens];  // G scale / |q|
  float total;       // G[end]
  float pad[3];
};

// `chunks` of a sequence from `chunk` on; none if chunks is 0.
struct alignas(16) Segment {
  int32_t chunk, chunks, slot, initial;
  int32_t index, count, sequence_chunks, pad;  // of the sequence
  __device__ int chunk_of(int i) const {       // the first one of segment i of the sequence
    const auto start = [this](int s) { return sequence_chunks * s / count; };  // at most 2^25 x 32
    return chunk - start(index) + start(i);
  }
};

inline constexpr size_t kSegmentBytes = size_t{128} << 10;  // of a head: S or P, 128 x 128 of 4 bytes each

struct Scratch {
  Gates* gates;       // [chunks][value_heads]
  Segment* segments;  // [entries]: that from chunk c of sequence s on at c / cut.least + s
  uint8_t* states;    // [chunks / cut.least, rounded up][value_heads][2]: of a segment from chunk c on
  GdnCut cut;
  int entries, heads_per_key;

  __device__ uint8_t* state(const GdnChunkParams& p, int chunk, int head, int which) const {
    return states +
           ((static_cast<int64_t>(chunk / cut.least) * p.value_heads + head) * 2 + which) * (kSegmentBytes / 2);
  }
};

// A state of 128 rows between kernels lies as the walk's threads hold it: 16 words of 16 bytes for each thread of two
// groups of 128.
__device__ __forceinline__ void load_kept(float (&s)[64], const uint8_t* from, int group, int thread) {
  const float4* at = reinterpret_cast<const float4*>(from) + group * 2048 + thread;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const float4 v = at[i * 128];
    s[4 * i] = v.x, s[4 * i + 1] = v.y, s[4 * i + 2] = v.z, s[4 * i + 3] = v.w;
  }
}
__device__ __forceinline__ void store_kept(const float (&s)[64], uint8_t* to, int group, int thread) {
  float4* at = reinterpret_cast<float4*>(to) + group * 2048 + thread;
#pragma unroll
  for (int i = 0; i < 16; ++i) at[i * 128] = make_float4(s[4 * i], s[4 * i + 1], s[4 * i + 2], s[4 * i + 3]);
}

using hopper::pack_operands;

// The sums of a product (64 rows, 16 kSteps columns) as left operands of the next.
template <class T, int kSteps>
__device__ __forceinline__ void pack_sums(uint32_t (&to)[kSteps][4], const float (&sums)[8 * kSteps]) {
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) to[k][i] = pack_operands<T>(sums[8 * k + 2 * i], sums[8 * k + 2 * i + 1]);
  }
}

}  // namespace gdn
}  // namespace mamba::cuda
