#pragma once
#include <cstdint>

#include "ops/pool.h"

namespace mamba {

// A token's count in a sequence: how often it was generated, and this bit if it is in the prompt.
inline constexpr uint32_t kInPrompt = 0x80000000u;

// The part of a sequence that a step adds, as src/step/fields/penalties.ts writes it (five 32-bit words).
struct CountedRow {
  int32_t slot;           // of the counts; outside [0, slots) = nothing is counted
  int32_t first, length;  // tokens [first, first + length); those outside [0, tokens) are left out
  int32_t prompt;         // the first so many of them are of the prompt, the others were generated
  int32_t fresh;          // not 0 = the sequence begins: its counts are cleared before
};
static_assert(sizeof(CountedRow) == 20);

// One row of penalties, as src/step/fields/penalties.ts writes it (four 32-bit words).
struct PenaltyRow {
  int32_t slot;      // of the counts; outside [0, slots) = the row stays as it is
  float repetition;  // 1 = off
  float presence;    // 0 = off
  float frequency;   // 0 = off
};
static_assert(sizeof(PenaltyRow) == 16);

struct CountTokensParams {
  int64_t rows, slots, vocab, tokens;
  uint32_t* counts;  // [slots, vocab], row stride counts_stride
  int64_t counts_stride;
  const int32_t* ids;       // [tokens]; an id outside [0, vocab) is left out
  const CountedRow* table;  // [rows]; a slot is in one row at most

  Pool counts_pool() const { return {counts, static_cast<size_t>(slots * counts_stride) * sizeof(uint32_t)}; }
};

struct ApplyPenaltiesParams {
  int64_t rows, slots, vocab;
  float* logits;  // [rows, vocab], row stride logits_stride
  int64_t logits_stride;
  const uint32_t* counts;  // [slots, vocab], row stride counts_stride
  int64_t counts_stride;
  const PenaltyRow* table;  // [rows]
};

}  // namespace mamba
