#pragma once
// The state-space part of Mamba-2 (Dao & Gu 2024, arXiv 2405.21060). Its definition, per head, with state S [P, N]:
//   dt' = clamp(softplus(dt + dt_bias), dt_min, dt_max)
//   S  <- exp(dt' A) S + dt' x B^T
//   y   = S C + D x
// H heads of P channels; B and C belong to G groups of H / G heads. All state arithmetic is in float.
#include "core/dtype.h"
#include "ops/pool.h"
#include "ops/replay.h"

namespace mamba {

// dt past this is its own softplus to float precision.
inline constexpr float kSoftplusThreshold = 20.0f;

struct SsdChunkScanParams {
  int64_t tokens, sequences, chunks, heads, head_dim, groups, state_size, slots_in_pool;
  const void* x;   // [tokens, heads, head_dim]: token stride x_stride; heads and channels contiguous
  const void* dt;  // [tokens, heads]: token stride dt_stride
  const void* b;   // [tokens, groups, state_size]: token stride b_stride; the rest contiguous
  const void* c;   // [tokens, groups, state_size]: token stride c_stride
  int64_t x_stride, dt_stride, b_stride, c_stride;
  const float* a;        // [heads], negative
  const float* d;        // [heads] or null
  const float* dt_bias;  // [heads] or null
  void* state;           // [slots, heads, head_dim, state_size], slot stride state_slot_stride; the rest contiguous
  int64_t state_slot_stride;
  const int32_t* query_start_loc;    // [sequences + 1]
  const int32_t* slots;              // [sequences]; -1 = padding: zeros to out, nothing to state
  const int32_t* has_initial_state;  // [sequences]; 0 = start from zeros, whatever the slot holds
  const int32_t* cu_chunk_seqlens;   // [chunks + 1]: chunk c is tokens [cu_chunk_seqlens[c], cu_chunk_seqlens[c+1])
  const int32_t* chunk_seq;          // [chunks]: the sequence of each chunk; a chunk never crosses a sequence
  const int32_t* last_chunk;         // [sequences]: its last chunk; an empty sequence repeats its predecessor's (or -1)
  const int32_t* chunk_slots;        // [chunks] or null: a slot that gets the state after the chunk too; -1 = none
  void* out;                         // [tokens, heads, head_dim]: token stride out_stride
  int64_t out_stride;
  float dt_min, dt_max;
  bool dt_softplus;
  DType dtype;        // of x, b, c and out
  DType dt_dtype;     // f32 or dtype
  DType state_dtype;  // f32, bf16 or f16

  Pool state_pool() const {
    return {state, static_cast<size_t>(slots_in_pool * state_slot_stride) * size_of(state_dtype)};
  }
};

struct SsdStateUpdateParams {
  int64_t rows, heads, head_dim, groups, state_size, slots_in_pool;
  const void* x;   // [rows, heads, head_dim]: row stride x_stride
  const void* dt;  // [rows, heads] or [rows, heads, head_dim]
  const void* b;   // [rows, groups, state_size]: row stride b_stride
  const void* c;   // [rows, groups, state_size]: row stride c_stride
  const void* z;   // [rows, heads, head_dim]: row stride z_stride, or null; out is multiplied by silu(z)
  int64_t x_stride, b_stride, c_stride, z_stride;
  int64_t dt_row_stride, dt_head_stride, dt_channel_stride;
  const float* a;        // [heads], or [heads, head_dim, state_size] (Mamba-1)
  const float* d;        // [heads] or [heads, head_dim], or null
  const float* dt_bias;  // [heads] or [heads, head_dim], or null
  int64_t a_head_stride, a_channel_stride, a_state_stride;
  int64_t d_head_stride, d_channel_stride, dt_bias_head_stride, dt_bias_channel_stride;
  void* state;  // [slots, heads, head_dim, state_size], slot stride state_slot_stride; the rest contiguous
  int64_t state_slot_stride;
  const int32_t* slots;  // [rows]; -1 = padding row: zeros to out, nothing to state
  void* out;             // [rows, heads, head_dim]: row stride out_stride
  int64_t out_stride;
  float dt_min, dt_max;
  bool dt_softplus;
  DType dtype, dt_dtype, state_dtype;

  Pool state_pool() const {
    return {state, static_cast<size_t>(slots_in_pool * state_slot_stride) * size_of(state_dtype)};
  }

  // One decay per head, as in Mamba-2: the tuned path.
  bool tied() const {
    return a_channel_stride == 0 && a_state_stride == 0 && dt_channel_stride == 0 && dt_bias_channel_stride == 0 &&
           d_channel_stride == 0;
  }
};

// Rows of tokens_per_row tokens each: token t of row r is r * tokens_per_row + t of x, dt, b, c, z and out. One decay
// per head. An entry of the history is x [heads, head_dim], b [groups, state_size] and dt [heads] of a token.
struct SsdReplayParams : SsdStateUpdateParams {
  int64_t tokens_per_row;
  History history;
  const ReplayRow* replay;  // [rows]

  Pool history_pool() const {
    return {history.data, static_cast<size_t>(slots_in_pool * history.slot_stride) * size_of(dtype)};
  }
};

}  // namespace mamba
