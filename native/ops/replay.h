#pragma once
// Decoding of several tokens in a row, of which later ones may be taken back. The state is written once for all of
// them, as in FlashInfer's ReplaySSM: it lags behind its sequence, and a ring for each slot, the history, keeps what
// the tokens that it lacks put into it. A step first takes those through the recurrence again, those only that were
// accepted, and then the row's own from there; of those that may be taken back none reaches the state in memory.
// Between two tokens a state is rounded to its type, as by two calls of the plain update, so that the bits are the
// same.
#include <cstdint>

#include "ops/pool.h"

namespace mamba {

// Tokens of a row at most.
inline constexpr int64_t kMostReplayTokens = 8;

// One row of `replay`. Tokens count from the sequence's first decoded one.
struct ReplayRow {
  int32_t first;    // of the row's tokens
  int32_t held;     // tokens before it that the state lacks, at most entries - tokens of the row
  int32_t settles;  // what the state in memory takes: a Settles
};

enum Settles : int32_t {
  kSettlesNothing = 0,
  kSettlesHeld = 1,  // the held tokens
  kSettlesAll = 2,   // those and the row's own
};

inline constexpr int64_t kReplayRowWords = 3;

// What each slot keeps of its last tokens: the one with number t is in entry t % entries.
struct History {
  void* data;  // [slots, entries, width] of the activations' type, slot stride slot_stride; the rest contiguous. The
               // width may be more than an entry takes, so that entries begin at whole words
  int64_t slot_stride, entries, width;
};

}  // namespace mamba
