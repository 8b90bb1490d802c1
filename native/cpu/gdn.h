#pragma once
// The gated delta rule on the CPU: the scratch memory of its tasks, and the cut of the work into them.
#include <cstddef>
#include <cstdint>

#include "ops/gdn.h"

namespace mamba::cpu {

class ThreadPool;

// Tokens of one matrix step of gdn_chunk. Counted from the chunk's start, so that the cut of a prompt at a multiple of
// the chunk size changes no sum.
inline constexpr int64_t kDeltaTokens = 64;

// Where the tiles of one gdn_chunk task lie in its scratch, in floats; every tile starts a cache line. Sizes are padded
// for any register tile of up to 8 rows x 32 columns.
struct DeltaLayout {
  int64_t key_stride;    // key_dim, padded to 16
  int64_t key_rows;      // key_dim, padded to 8
  int64_t q;             // [kDeltaTokens][key_stride]
  int64_t k;             // as q
  int64_t k_transposed;  // [key_rows][kDeltaTokens]
  int64_t kk;            // [kDeltaTokens][kDeltaTokens], as are the next three
  int64_t qk;
  int64_t system;
  int64_t mixing;
  int64_t u;     // [kDeltaTokens][columns of a panel]
  int64_t beta;  // [kDeltaTokens], as are the next two
  int64_t decay;
  int64_t decay_rest;
  int64_t state;         // [heads] x panels of [key_rows][columns of a panel]
  int64_t state_stride;  // floats of one head
  int64_t floats;
};

// Static: kernels of several instruction sets include this, and each must get its own copy (see simd/README.md).
static inline DeltaLayout delta_layout(const GdnChunkParams& p, int64_t heads, int64_t values) {
  constexpr int64_t kSquare = kDeltaTokens * kDeltaTokens;
  DeltaLayout at = {};
  at.key_stride = (p.key_dim + 15) / 16 * 16;
  at.key_rows = (p.key_dim + 7) / 8 * 8;
  at.state_stride = (values + 31) / 32 * 32 * at.key_rows;
  at.q = 0;
  at.k = at.q + kDeltaTokens * at.key_stride;
  at.k_transposed = at.k + kDeltaTokens * at.key_stride;
  at.kk = at.k_transposed + kDeltaTokens * at.key_rows;
  at.qk = at.kk + kSquare;
  at.system = at.qk + kSquare;
  at.mixing = at.system + kSquare;
  at.u = at.mixing + kSquare;
  at.beta = at.u + kDeltaTokens * 32;
  at.decay = at.beta + kDeltaTokens;
  at.decay_rest = at.decay + kDeltaTokens;
  at.state = at.decay_rest + kDeltaTokens;
  at.floats = at.state + at.state_stride * heads;
  return at;
}

size_t gdn_chunk_scratch_bytes(const GdnChunkParams& params, int64_t heads, int64_t values);
size_t gdn_update_scratch_bytes(const GdnUpdateParams& params);
size_t gdn_replay_scratch_bytes(const GdnReplayParams& params);

void run_gdn_chunk(const GdnChunkParams& params, ThreadPool& pool);
void run_gdn_update(const GdnUpdateParams& params, ThreadPool& pool);
void run_gdn_replay(const GdnReplayParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
