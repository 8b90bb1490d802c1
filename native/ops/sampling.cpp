#include "ops/sampling.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {

void sample(Stream& stream, Tensor tokens, Tensor logits, Tensor params) {
  Checker check("sample", stream.device());
  check.shape(logits, "logits", {"rows", "vocab"})
      .dtype(logits, "logits", {DType::f32})
      .last_contiguous(logits, "logits");
  check.shape(params, "params", {"rows", "8"}).dtype(params, "params", {DType::i32}).contiguous(params, "params");
  check.shape(tokens, "tokens", {"rows"}).dtype(tokens, "tokens", {DType::i32}).contiguous(tokens, "tokens");
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
  check.shape(logits, "logits", {"rows", "vocab"})
      .dtype(logits, "logits", {DType::f32})
      .last_contiguous(logits, "logits");
  check.shape(tokens, "tokens", {"rows"}).dtype(tokens, "tokens", {DType::i32}).contiguous(tokens, "tokens");
  check.shape(values, "values", {"rows", "columns"}).dtype(values, "values", {DType::f32}).contiguous(values, "values");
  check.shape(ids, "ids", {"rows", "columns"}).dtype(ids, "ids", {DType::i32}).contiguous(ids, "ids");
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
