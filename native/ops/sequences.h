#pragma once
// Metadata that several ops read: packed sequences with their slots, and the chunks that they are cut into.
#include <optional>

#include "core/check.h"

namespace mamba {

// query_start_loc [sequences + 1]; slots and has_initial_state [sequences].
void check_sequences(Checker& check, const Tensor& query_start_loc, const Tensor& slots,
                     const Tensor& has_initial_state);

// cu_chunk_seqlens [chunks + 1], chunk_seq and chunk_slots [chunks], last_chunk [sequences].
void check_chunks(Checker& check, const Tensor& cu_chunk_seqlens, const Tensor& chunk_seq, const Tensor& last_chunk,
                  const std::optional<Tensor>& chunk_slots);

}  // namespace mamba
