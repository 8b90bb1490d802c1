#include "ops/sequences.h"

#include "ops/replay.h"

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

void check_history(Checker& check, const Tensor& history, const Tensor& like, int64_t width) {
  check.shape(history, "history", {"slots", "entries", "width"})
      .same_dtype(history, "history", like, "the activations");
  check.inner_contiguous(history, "history");
  if (!(history.size(2) >= width))
    check.refuse("history is " + history.shape_text() + ", expected a width of at least " + std::to_string(width));
}

int64_t tokens_per_row(const Checker& check, const Tensor& slots) {
  const int64_t tokens = check.size("tokens"), rows = check.size("rows");
  if (!(rows == 0 ? tokens == 0 : tokens % rows == 0))
    check.refuse("slots is " + slots.shape_text() + " for " + std::to_string(tokens) +
                 " tokens, expected equally many tokens for each row");
  return rows == 0 ? 0 : tokens / rows;
}

int64_t check_replay(Checker& check, const Tensor& replay, const Tensor& slots, const char* ring, int64_t before) {
  check_indices(check, slots, "slots", "rows");
  check.shape(replay, "replay", {"rows", "3"}).dtype(replay, "replay", {DType::i32}).contiguous(replay, "replay");
  const int64_t of_row = tokens_per_row(check, slots), entries = check.size("entries");
  if (!(of_row <= kMostReplayTokens))
    check.refuse("a row has " + std::to_string(of_row) + " tokens, expected at most " +
                 std::to_string(kMostReplayTokens));
  if (!(entries >= before + of_row))
    check.refuse(std::string(ring) + " has " + std::to_string(entries) + " entries, expected at least " +
                 std::to_string(before + of_row));
  return of_row;
}

}  // namespace mamba
