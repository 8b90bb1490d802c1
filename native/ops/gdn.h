#pragma once
// The gated delta rule (Yang, Kautz & Hatamizadeh 2024, arXiv 2412.06464). Its definition, per value head, with state S
// [V, K]:
//   q' = q / sqrt(sum q^2 + eps) scale      k' = k / sqrt(sum k^2 + eps)
//   S <- exp(decay softplus(a + dt_bias)) S
//   S <- S + sigmoid(b) (v - S k') k'^T
//   out = S q'
// HK key heads (of q and k) and HV value heads (of v, a, b and out), HV a multiple of HK: value head h has key head h /
// (HV / HK). All state arithmetic is in float.
#include "core/dtype.h"
#include "ops/pool.h"
#include "ops/replay.h"

namespace mamba {

struct GdnChunkParams {
  int64_t tokens, sequences, chunks, key_heads, value_heads, key_dim, value_dim, slots_in_pool;
  const void* q;  // [tokens, key_heads, key_dim]: token stride q_stride; heads and channels contiguous
  const void* k;  // as q: token stride k_stride
  const void* v;  // [tokens, value_heads, value_dim]: token stride v_stride; the rest contiguous
  const void* a;  // [tokens, value_heads]: token stride a_stride
  const void* b;  // as a: token stride b_stride
  int64_t q_stride, k_stride, v_stride, a_stride, b_stride;
  const float* decay;    // [value_heads], negative
  const float* dt_bias;  // [value_heads]
  void* state;           // [slots, value_heads, value_dim, key_dim], slot stride state_slot_stride; the rest contiguous
  int64_t state_slot_stride;
  const int32_t* query_start_loc;    // [sequences + 1]
  const int32_t* slots;              // [sequences]; -1 = padding: zeros to out, nothing to state
  const int32_t* has_initial_state;  // [sequences]; 0 = start from zeros, whatever the slot holds
  const int32_t* cu_chunk_seqlens;   // [chunks + 1]: chunk c is tokens [cu_chunk_seqlens[c], cu_chunk_seqlens[c+1])
  const int32_t* chunk_seq;          // [chunks]: the sequence of each chunk; a chunk never crosses a sequence
  const int32_t* last_chunk;         // [sequences]: its last chunk; an empty sequence repeats its predecessor's (or -1)
  const int32_t* chunk_slots;        // [chunks] or null: a slot that gets the state after the chunk too; -1 = none
  void* out;                         // [tokens, value_heads, value_dim]: token stride out_stride
  int64_t out_stride;
  float eps, scale;
  DType dtype;        // of q, k, v and out
  DType gate_dtype;   // of a and b: f32 or dtype
  DType state_dtype;  // f32, bf16 or f16

  Pool state_pool() const {
    return {state, static_cast<size_t>(slots_in_pool * state_slot_stride) * size_of(state_dtype)};
  }
};

struct GdnUpdateParams {
  int64_t rows, tokens_per_row, key_heads, value_heads, key_dim, value_dim, slots_in_pool;
  const void *q, *k, *v, *a, *b;  // as above; token t of row r is r * tokens_per_row + t
  int64_t q_stride, k_stride, v_stride, a_stride, b_stride;
  const float* decay;    // [value_heads], negative
  const float* dt_bias;  // [value_heads]
  void* state;           // [slots, value_heads, value_dim, key_dim], slot stride state_slot_stride; the rest contiguous
  int64_t state_slot_stride;
  const int32_t* slots;  // [rows]; -1 = padding: zeros to out, nothing to state
  void* out;             // [rows * tokens_per_row, value_heads, value_dim]: token stride out_stride
  int64_t out_stride;
  float eps, scale;
  DType dtype, gate_dtype, state_dtype;

  Pool state_pool() const {
    return {state, static_cast<size_t>(slots_in_pool * state_slot_stride) * size_of(state_dtype)};
  }
};

// An entry of the history is k [key_heads, key_dim], v [value_heads, value_dim], b and a [value_heads] of a token, as
// they come. gate_dtype is dtype.
struct GdnReplayParams : GdnUpdateParams {
  History history;
  const ReplayRow* replay;  // [rows]

  Pool history_pool() const {
    return {history.data, static_cast<size_t>(slots_in_pool * history.slot_stride) * size_of(dtype)};
  }
};

}  // namespace mamba
