#include "ops/mask.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {

void mask_logits(Stream& stream, Tensor logits, Tensor masks, Tensor rows) {
  Checker check("mask_logits", stream.device());
  check.rows(logits, "logits", {"rows", "vocab"}, {DType::f32});
  check.rows(masks, "masks", {"masks", "words"}, {DType::i32});
  check.dense(rows, "rows", {"rows"}, DType::i32);
  const int64_t words = (check.size("vocab") + kMaskBits - 1) / kMaskBits;
  if (check.size("words") != words)
    check.refuse("masks is " + masks.shape_text() + ", expected [masks, " + std::to_string(words) +
                 "], a bit for each token of the vocabulary");
  if (logits.elements() == 0 || masks.elements() == 0) return;
  backend_of(stream).mask_logits(stream, {
                                             .rows = check.size("rows"),
                                             .masks = check.size("masks"),
                                             .vocab = check.size("vocab"),
                                             .logits = logits.as<float>(),
                                             .logits_stride = logits.stride(0),
                                             .table = masks.as<uint32_t>(),
                                             .table_stride = masks.stride(0),
                                             .mask_of = rows.as<int32_t>(),
                                         });
}

void add_logit_bias(Stream& stream, Tensor logits, Tensor rows, Tensor tokens, Tensor bias) {
  Checker check("add_logit_bias", stream.device());
  check.rows(logits, "logits", {"rows", "vocab"}, {DType::f32});
  check.dense(rows, "rows", {"entries"}, DType::i32);
  check.dense(tokens, "tokens", {"entries"}, DType::i32);
  check.dense(bias, "bias", {"entries"}, DType::f32);
  if (logits.elements() == 0 || rows.elements() == 0) return;
  backend_of(stream).add_logit_bias(stream, {
                                                .entries = check.size("entries"),
                                                .rows = check.size("rows"),
                                                .vocab = check.size("vocab"),
                                                .logits = logits.as<float>(),
                                                .logits_stride = logits.stride(0),
                                                .row = rows.as<int32_t>(),
                                                .token = tokens.as<int32_t>(),
                                                .bias = bias.as<float>(),
                                            });
}

}  // namespace mamba
