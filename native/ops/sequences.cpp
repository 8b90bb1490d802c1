#include "ops/sequences.h"

#include "ops/replay.h"

namespace mamba {

void check_starts(Checker& check, const Tensor& starts, const char* name, const char* one_more, const char* dim,
                  const char* counted) {
  check.dense(starts, name, {one_more}, DType::i32);
  if (check.size(one_more) != check.size(dim) + 1)
    check.refuse(std::string(name) + " is " + starts.shape_text() + ", expected one more than " + counted);
}

void check_sequences(Checker& check, const Tensor& query_start_loc, const Tensor& slots,
                     const Tensor& has_initial_state) {
  check.dense(slots, "slots", {"sequences"}, DType::i32);
  check.dense(has_initial_state, "has_initial_state", {"sequences"}, DType::i32);
  check_starts(check, query_start_loc, "query_start_loc", "sequences + 1", "sequences", "slots");
}

void check_chunks(Checker& check, const Tensor& cu_chunk_seqlens, const Tensor& chunk_seq, const Tensor& last_chunk,
                  const std::optional<Tensor>& chunk_slots) {
  check.dense(last_chunk, "last_chunk", {"sequences"}, DType::i32);
  check.dense(chunk_seq, "chunk_seq", {"chunks"}, DType::i32);
  if (chunk_slots) check.dense(*chunk_slots, "chunk_slots", {"chunks"}, DType::i32);
  check_starts(check, cu_chunk_seqlens, "cu_chunk_seqlens", "chunks + 1", "chunks", "chunk_seq");
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
  check.dense(slots, "slots", {"rows"}, DType::i32);
  check.dense(replay, "replay", {"rows", "3"}, DType::i32);
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
