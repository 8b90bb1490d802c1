#pragma once
#include "core/dtype.h"
#include "ops/pool.h"
#include "ops/replay.h"

namespace mamba {

inline constexpr int64_t kMinConvWidth = 2, kMaxConvWidth = 4;

struct CausalConv1dUpdateParams {
  int64_t rows, dim, width, slots_in_pool;
  const void* x;  // [rows, dim], row stride x_stride
  int64_t x_stride;
  void* state;                // [slots, width-1, dim]; the oldest input first; dim is contiguous
  int64_t state_slot_stride;  // elements
  const float* weight;        // [width, dim]; the tap of the oldest input first
  const float* bias;          // [dim] or null
  const int32_t* slots;       // [rows]; -1 = padding row: writes zeros to out and nothing to state
  void* out;                  // [rows, dim], row stride out_stride; may be x
  int64_t out_stride;
  bool silu;
  DType x_dtype, state_dtype;  // out has x's type

  Pool state_pool() const {
    return {state, static_cast<size_t>(slots_in_pool * state_slot_stride) * size_of(state_dtype)};
  }
};

// Rows of tokens_per_row tokens each. A slot's window is a ring: the input of token t, counted as in ReplayRow, is in
// entry (t + width - 1) % entries, and those before the first decoded one come first, as a prefill leaves them. The
// row's last input goes where the oldest of its window was, which only its first token meets.
struct CausalConv1dReplayParams {
  int64_t rows, tokens_per_row, dim, width, entries, slots_in_pool;
  const void* x;  // [rows * tokens_per_row, dim], row stride x_stride
  int64_t x_stride;
  void* state;  // [slots, entries, dim]; entries >= width - 2 + tokens_per_row, and width - 1
  int64_t state_slot_stride;
  const float* weight;      // [width, dim]; the tap of the oldest input first
  const float* bias;        // [dim] or null
  const int32_t* slots;     // [rows]; -1 = padding: zeros to out, nothing to state
  const ReplayRow* replay;  // [rows]
  void* out;                // [rows * tokens_per_row, dim], row stride out_stride
  int64_t out_stride;
  bool silu;
  DType x_dtype, state_dtype;

  Pool state_pool() const {
    return {state, static_cast<size_t>(slots_in_pool * state_slot_stride) * size_of(state_dtype)};
  }
};

struct CausalConv1dVarlenParams {
  int64_t tokens, sequences, blocks, dim, width, slots_in_pool, block_size;
  const void* x;  // [tokens, dim], row stride x_stride
  int64_t x_stride;
  void* state;  // [slots, width-1, dim], as above; a slot may have more behind it
  int64_t state_slot_stride;
  const float* weight;               // [width, dim]
  const float* bias;                 // [dim] or null
  const int32_t* query_start_loc;    // [sequences + 1]
  const int32_t* slots;              // [sequences]; -1 = padding: zeros to out, nothing to state
  const int32_t* has_initial_state;  // [sequences]; 0 = the slot's content is ignored
  const int32_t* block_seq;          // [blocks]: the sequence of each block of block_size tokens
  const int32_t* block_offset;       // [blocks]: which block of its sequence it is
  void* out;                         // [tokens, dim], row stride out_stride; must not be x
  int64_t out_stride;
  bool silu;
  int64_t snapshots;
  const int32_t* snapshot_ends;   // [snapshots]: tokens before each, at least width - 1 of them of its sequence
  const int32_t* snapshot_slots;  // [snapshots]: the slot that gets the window there; -1 = none
  DType x_dtype, state_dtype;

  Pool state_pool() const {
    return {state, static_cast<size_t>(slots_in_pool * state_slot_stride) * size_of(state_dtype)};
  }
};

}  // namespace mamba
