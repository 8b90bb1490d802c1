#include "ops/penalties.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {

void count_tokens(Stream& stream, Tensor counts, Tensor tokens, Tensor rows) {
  Checker check("count_tokens", stream.device());
  check.shape(counts, "counts", {"slots", "vocab"})
      .dtype(counts, "counts", {DType::i32})
      .last_contiguous(counts, "counts");
  check.shape(tokens, "tokens", {"tokens"}).dtype(tokens, "tokens", {DType::i32}).contiguous(tokens, "tokens");
  check.shape(rows, "rows", {"rows", "5"}).dtype(rows, "rows", {DType::i32}).contiguous(rows, "rows");
  if (rows.elements() == 0) return;
  backend_of(stream).count_tokens(stream, {
                                              .rows = check.size("rows"),
                                              .slots = check.size("slots"),
                                              .vocab = check.size("vocab"),
                                              .tokens = check.size("tokens"),
                                              .counts = counts.as<uint32_t>(),
                                              .counts_stride = counts.stride(0),
                                              .ids = tokens.as<int32_t>(),
                                              .table = rows.as<CountedRow>(),
                                          });
}

void apply_penalties(Stream& stream, Tensor logits, Tensor counts, Tensor rows) {
  Checker check("apply_penalties", stream.device());
  check.shape(logits, "logits", {"rows", "vocab"})
      .dtype(logits, "logits", {DType::f32})
      .last_contiguous(logits, "logits");
  check.shape(counts, "counts", {"slots", "vocab"})
      .dtype(counts, "counts", {DType::i32})
      .last_contiguous(counts, "counts");
  check.shape(rows, "rows", {"rows", "4"}).dtype(rows, "rows", {DType::i32}).contiguous(rows, "rows");
  if (logits.elements() == 0) return;
  backend_of(stream).apply_penalties(stream, {
                                                 .rows = check.size("rows"),
                                                 .slots = check.size("slots"),
                                                 .vocab = check.size("vocab"),
                                                 .logits = logits.as<float>(),
                                                 .logits_stride = logits.stride(0),
                                                 .counts = counts.as<uint32_t>(),
                                                 .counts_stride = counts.stride(0),
                                                 .table = rows.as<PenaltyRow>(),
                                             });
}

}  // namespace mamba
