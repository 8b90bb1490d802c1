// The ring of ops/replay.h, as kernels for one slot see it.
#pragma once
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {

// Tokens [begin, first) are in the history and not in the state; `settles`: a Settles. Numbers that the ring has no
// room for are cut, so that no mistake above can write to foreign memory.
struct Lag {
  int64_t begin, first;
  int32_t settles;
};

inline Lag lag_of(const ReplayRow& row, int64_t entries, int64_t tokens) {
  const int64_t first = row.first < 0 ? 0 : row.first;
  const int64_t held = smaller(row.held < 0 ? 0 : row.held, smaller(first, entries - tokens));
  return {first - held, first, row.settles};
}

template <class T>
struct Ring {
  T* data;
  int64_t entries, width;

  Ring(const History& history, int64_t slot)
      : data(static_cast<T*>(history.data) + slot * history.slot_stride),
        entries(history.entries),
        width(history.width) {}
  T* at(int64_t token) const { return data + token % entries * width; }
};

template <class T>
inline void copy_run(T* to, const T* from, int64_t n) {
  __builtin_memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}

// Brings a head's state up to date and then goes on beyond it: absorb(state, token) for the tokens that it lacks, then
// advance(state, t) for t of the row's tokens, on a copy in `scratch`.
template <class S, class Absorb, class Advance>
inline void replay_head(S* state, S* scratch, int64_t elements, const Lag& lag, int64_t tokens, Absorb absorb,
                        Advance advance) {
  const bool held = lag.settles == kSettlesHeld || lag.settles == kSettlesAll;
  if (!held) copy_run(scratch, state, elements);
  for (int64_t token = lag.begin; token < lag.first; ++token) absorb(held ? state : scratch, token);
  if (lag.settles == kSettlesHeld) copy_run(scratch, state, elements);
  for (int64_t t = 0; t < tokens; ++t) advance(lag.settles == kSettlesAll ? state : scratch, t);
}

}  // namespace mamba::cpu::MAMBA_ISA
