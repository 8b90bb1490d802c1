#include "ops/sequences.h"

namespace mamba {
namespace {

void check_indices(Checker& check, const Tensor& t, const char* name, const char* dim) {
  check.shape(t, name, {dim}).dtype(t, name, {DType::i32}).contiguous(t, name);
}

}  // namespace

void check_sequences(Checker& check, const Tensor& query_start_loc, const Tensor& slots,
                     const Tensor& has_initial_state) {
  check_indices(check, slots, "slots", "sequences");
  check_indices(check, has_initial_state, "has_initial_state", "sequences");
  check_indices(check, query_start_loc, "query_start_loc", "sequences + 1");
  if (!(check.size("sequences + 1") == check.size("sequences") + 1))
    check.refuse("query_start_loc is " + query_start_loc.shape_text() + ", expected one more than slots");
}

void check_chunks(Checker& check, const Tensor& cu_chunk_seqlens, const Tensor& chunk_seq, const Tensor& last_chunk,
                  const std::optional<Tensor>& chunk_slots) {
  check_indices(check, last_chunk, "last_chunk", "sequences");
  check_indices(check, chunk_seq, "chunk_seq", "chunks");
  if (chunk_slots) check_indices(check, *chunk_slots, "chunk_slots", "chunks");
  check_indices(check, cu_chunk_seqlens, "cu_chunk_seqlens", "chunks + 1");
  if (!(check.size("chunks + 1") == check.size("chunks") + 1))
    check.refuse("cu_chunk_seqlens is " + cu_chunk_seqlens.shape_text() + ", expected one more than chunk_seq");
}

}  // namespace mamba
