#include "ops/penalties.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {

void count_tokens(Stream& stream, Tensor counts, Tensor tokens, Tensor rows) {
  Checker check("count_tokens", stream.device());
  check.rows(counts, "counts", {"slots", "vocab"}, {DType::i32});
  check.dense(tokens, "tokens", {"tokens"}, DType::i32);
  check.dense(rows, "rows", {"rows", "5"}, DType::i32);
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
  check.rows(logits, "logits", {"rows", "vocab"}, {DType::f32});
  check.rows(counts, "counts", {"slots", "vocab"}, {DType::i32});
  check.dense(rows, "rows", {"rows", "4"}, DType::i32);
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
