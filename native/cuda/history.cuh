#pragma once
// The ring of ops/replay.h, as kernels see it.
#include <cstdint>

#include "ops/replay.h"

namespace mamba::cuda {

// Tokens [begin, first) are in the history and not in the state; `settles`: a Settles. Numbers that the ring has no
// room for are cut, so that no mistake above can write to foreign memory.
struct Lag {
  int begin, first, settles;
};

__device__ __forceinline__ Lag lag_of(const ReplayRow& row, int64_t entries, int64_t tokens) {
  const int first = row.first < 0 ? 0 : row.first, room = static_cast<int>(entries - tokens);
  int held = row.held < 0 ? 0 : row.held;
  held = held < first ? held : first;
  held = held < room ? held : room;
  return {first - held, first, row.settles};
}

// Entry of a token in the ring of a slot.
template <class T>
__device__ __forceinline__ T* entry_of(const History& history, int64_t slot, int token) {
  const int place = token % static_cast<int>(history.entries);
  return static_cast<T*>(history.data) + slot * history.slot_stride + place * history.width;
}

}  // namespace mamba::cuda
