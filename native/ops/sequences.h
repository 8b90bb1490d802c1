#pragma once
// Metadata that several ops read: packed sequences with their slots, the chunks that they are cut into, and rows whose
// tokens may be taken back.
#include <optional>

#include "core/check.h"

namespace mamba {

// starts [one_more], which is dim + 1: where each begins of those that `counted` [dim] has, and where the last one
// ends.
void check_starts(Checker& check, const Tensor& starts, const char* name, const char* one_more, const char* dim,
                  const char* counted);

// query_start_loc [sequences + 1]; slots and has_initial_state [sequences].
void check_sequences(Checker& check, const Tensor& query_start_loc, const Tensor& slots,
                     const Tensor& has_initial_state);

// cu_chunk_seqlens [chunks + 1], chunk_seq and chunk_slots [chunks], last_chunk [sequences].
void check_chunks(Checker& check, const Tensor& cu_chunk_seqlens, const Tensor& chunk_seq, const Tensor& last_chunk,
                  const std::optional<Tensor>& chunk_slots);

// Tokens of each of the rows that `slots` [rows] are of; all rows have equally many.
int64_t tokens_per_row(const Checker& check, const Tensor& slots);

// history [slots, entries, width] of the type of `like`, whole for each slot.
void check_history(Checker& check, const Tensor& history, const Tensor& like, int64_t width);

// replay [rows, 3] and slots [rows] for tokens / rows tokens each, which are returned; entries of a ring that must hold
// `before` tokens more than those.
int64_t check_replay(Checker& check, const Tensor& replay, const Tensor& slots, const char* ring, int64_t before);

}  // namespace mamba
