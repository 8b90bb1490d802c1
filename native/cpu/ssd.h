#pragma once
// The state-space ops on the CPU: the scratch memory of ssd_chunk_scan, and the cut of the work into tasks.
#include <cstddef>
#include <cstdint>

#include "ops/ssd.h"

namespace mamba::cpu {

class ThreadPool;

// Tokens of one matrix step of ssd_chunk_scan. Counted from the chunk's start, so that the cut of a prompt at a
// multiple of the chunk size changes no sum.
inline constexpr int64_t kScanTokens = 64;

// Where the tiles of one ssd_chunk_scan task lie in its scratch, in floats; every tile starts a cache line. Sizes are
// padded for any register tile of up to 8 rows x 32 columns.
struct ScanLayout {
  int64_t c_stride;      // state_size, padded to 16
  int64_t state_rows;    // state_size, padded to 8
  int64_t head_columns;  // head_dim, padded to 32
  int64_t c;             // [kScanTokens][c_stride]
  int64_t b;             // [state_rows][kScanTokens]
  int64_t cb;            // [kScanTokens][kScanTokens]
  int64_t mixing;        // [kScanTokens][kScanTokens]
  int64_t x;             // panels of [kScanTokens][columns of a panel]
  int64_t weighted_x;    // as x
  int64_t dt;            // [heads][kScanTokens]
  int64_t decay;         // [heads][kScanTokens]
  int64_t decay_rest;    // [heads][kScanTokens]
  int64_t state;         // [heads] x panels of [state_rows][columns of a panel]
  int64_t state_stride;  // floats of one head
  int64_t floats;
};

// Static: kernels of several instruction sets include this, and each must get its own copy (see simd/README.md).
static inline ScanLayout scan_layout(const SsdChunkScanParams& p, int64_t heads) {
  ScanLayout at = {};
  at.c_stride = (p.state_size + 15) / 16 * 16;
  at.state_rows = (p.state_size + 7) / 8 * 8;
  at.head_columns = (p.head_dim + 31) / 32 * 32;
  at.state_stride = at.head_columns * at.state_rows;
  at.c = 0;
  at.b = at.c + kScanTokens * at.c_stride;
  at.cb = at.b + kScanTokens * at.state_rows;
  at.mixing = at.cb + kScanTokens * kScanTokens;
  at.x = at.mixing + kScanTokens * kScanTokens;
  at.weighted_x = at.x + kScanTokens * at.head_columns;
  at.dt = at.weighted_x + kScanTokens * at.head_columns;
  at.decay = at.dt + kScanTokens * heads;
  at.decay_rest = at.decay + kScanTokens * heads;
  at.state = at.decay_rest + kScanTokens * heads;
  at.floats = at.state + at.state_stride * heads;
  return at;
}

size_t ssd_chunk_scan_scratch_bytes(const SsdChunkScanParams& params, int64_t heads);
size_t ssd_replay_scratch_bytes(const SsdReplayParams& params);

void run_ssd_chunk_scan(const SsdChunkScanParams& params, ThreadPool& pool);
void run_ssd_state_update(const SsdStateUpdateParams& params, ThreadPool& pool);
void run_ssd_replay(const SsdReplayParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
