#pragma once
#include <optional>

#include "core/device.h"
#include "core/tensor.h"

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
};

struct CausalConv1dVarlenParams {
  int64_t tokens, sequences, blocks, dim, width, slots_in_pool, block_size;
  const void* x;  // [tokens, dim], row stride x_stride
  int64_t x_stride;
  void* state;  // [slots, width-1, dim], as above
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
  DType x_dtype, state_dtype;
};

// One new token per row: y = silu(bias + sum_j weight[j] * window[j]) over the slot's last width-1 inputs and x; the
// window moves on by one. The state keeps raw inputs (before the activation). Width 2 to 4.
void causal_conv1d_update(Stream& stream, Tensor out, Tensor x, Tensor state, Tensor weight, std::optional<Tensor> bias,
                          Tensor slots, bool silu);

// The same over packed sequences of any length: sequence s is tokens [query_start_loc[s], query_start_loc[s+1]). Blocks
// come from the host (src/engine/batch.ts): one entry for each block_size tokens of each sequence; an empty sequence
// has none and its state is not touched. The final window goes back to the sequence's slot. A block holds at least
// width - 1 tokens, so that only the first of a sequence needs the slot's window.
void causal_conv1d_varlen(Stream& stream, Tensor out, Tensor x, Tensor state, Tensor weight, std::optional<Tensor> bias,
                          Tensor query_start_loc, Tensor slots, Tensor has_initial_state, Tensor block_seq,
                          Tensor block_offset, int64_t block_size, bool silu);

}  // namespace mamba
