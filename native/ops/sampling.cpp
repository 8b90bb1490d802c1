#include "ops/sampling.h"

#include <limits>

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {
namespace {

// [rows, vocab], of as many tokens as their i32 numbers tell apart.
void check_logits(Checker& check, const Tensor& logits) {
  check.rows(logits, "logits", {"rows", "vocab"}, {DType::f32});
  constexpr int64_t kMaxVocab = std::numeric_limits<int32_t>::max();
  if (check.size("vocab") > kMaxVocab)
    check.refuse("logits is " + logits.shape_text() + ", expected at most " + std::to_string(kMaxVocab) + " tokens");
}

}  // namespace

void sample(Stream& stream, Tensor tokens, Tensor logits, Tensor params) {
  Checker check("sample", stream.device());
  check_logits(check, logits);
  check.dense(params, "params", {"rows", "8"}, DType::i32);
  check.dense(tokens, "tokens", {"rows"}, DType::i32);
  if (logits.elements() == 0) return;
  backend_of(stream).sample(stream, {
                                        .rows = check.size("rows"),
                                        .vocab = check.size("vocab"),
                                        .logits = logits.as<float>(),
                                        .logits_stride = logits.stride(0),
                                        .params = params.as<SamplingRow>(),
                                        .tokens = tokens.as<int32_t>(),
                                    });
}

void logprobs(Stream& stream, Tensor values, Tensor ids, Tensor logits, Tensor tokens) {
  Checker check("logprobs", stream.device());
  check_logits(check, logits);
  check.dense(tokens, "tokens", {"rows"}, DType::i32);
  check.dense(values, "values", {"rows", "columns"}, DType::f32);
  check.dense(ids, "ids", {"rows", "columns"}, DType::i32);
  if (!(check.size("columns") >= 1 && check.size("columns") - 1 <= check.size("vocab")))
    check.refuse("values is " + values.shape_text() + ", expected [rows, 1 + top] with top at most the vocabulary");
  if (logits.elements() == 0) return;
  backend_of(stream).logprobs(stream, {
                                          .rows = check.size("rows"),
                                          .vocab = check.size("vocab"),
                                          .top = check.size("columns") - 1,
                                          .logits = logits.as<float>(),
                                          .logits_stride = logits.stride(0),
                                          .tokens = tokens.as<int32_t>(),
                                          .values = values.as<float>(),
                                          .ids = ids.as<int32_t>(),
                                      });
}

}  // namespace mamba
