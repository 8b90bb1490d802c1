#pragma once
#include <cstdint>

namespace mamba {

// One row of sampling parameters, as src/step/fields/draws.ts writes it (eight 32-bit words).
struct SamplingRow {
  float temperature;  // 0 = greedy
  int32_t top_k;      // 0 = off
  float top_p;        // 1 = off
  float min_p;        // 0 = off
  uint32_t seed_low, seed_high;
  int32_t position;  // index of the token to be generated in its sequence: the random stream's counter
  int32_t unused;    // rows begin at multiples of 32 bytes
};
static_assert(sizeof(SamplingRow) == 32);

struct SampleParams {
  int64_t rows, vocab;
  const float* logits;  // [rows, vocab], row stride logits_stride
  int64_t logits_stride;
  const SamplingRow* params;  // [rows]
  int32_t* tokens;            // [rows]; -1 where the logits hold a NaN or +inf, or no finite value
};

struct LogprobsParams {
  int64_t rows, vocab, top;
  const float* logits;  // [rows, vocab], row stride logits_stride
  int64_t logits_stride;
  const int32_t* tokens;  // [rows]
  float* values;          // [rows, top + 1]: column 0 is the given token's, then the most likely ones, descending
  int32_t* ids;           // [rows, top + 1]: column 0 is the given token's rank from 1 (0: none), then the likeliest
};

}  // namespace mamba
