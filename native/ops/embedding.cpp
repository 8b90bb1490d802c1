#include "ops/embedding.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {

void embedding(Stream& stream, Tensor out, Tensor weight, Tensor ids) {
  Checker check("embedding", stream.device());
  check.shape(weight, "weight", {"vocab", "hidden"}).dtype(weight, "weight", kFloatTypes);
  check.contiguous(weight, "weight");
  check.dense(ids, "ids", {"tokens"}, DType::i32);
  check.shape(out, "out", {"tokens", "hidden"}).dtype(out, "out", kFloatTypes).contiguous(out, "out");
  if (out.elements() == 0) return;
  backend_of(stream).embedding(stream, {
                                           .tokens = check.size("tokens"),
                                           .hidden = check.size("hidden"),
                                           .vocab = check.size("vocab"),
                                           .weight = weight.data,
                                           .ids = ids.as<int32_t>(),
                                           .out = out.data,
                                           .weight_dtype = weight.dtype,
                                           .out_dtype = out.dtype,
                                       });
}

void gather_rows(Stream& stream, Tensor out, Tensor x, Tensor index) {
  Checker check("gather_rows", stream.device());
  check.shape(x, "x", {"source_rows", "width"}).last_contiguous(x, "x");
  check.dense(index, "index", {"rows"}, DType::i32);
  check.shape(out, "out", {"rows", "width"}).same_dtype(out, "out", x, "x").contiguous(out, "out");
  if (out.elements() == 0) return;
  backend_of(stream).gather_rows(stream, {
                                             .rows = check.size("rows"),
                                             .source_rows = check.size("source_rows"),
                                             .width = check.size("width"),
                                             .x = x.data,
                                             .x_stride = x.stride(0),
                                             .index = index.as<int32_t>(),
                                             .out = out.data,
                                             .dtype = x.dtype,
                                         });
}

void place_drawn_tokens(Stream& stream, Tensor ids, Tensor drawn) {
  Checker check("place_drawn_tokens", stream.device());
  check.dense(ids, "ids", {"tokens"}, DType::i32);
  check.dense(drawn, "drawn", {"draws"}, DType::i32);
  if (ids.elements() == 0 || drawn.elements() == 0) return;
  backend_of(stream).place_drawn_tokens(stream, {
                                                    .tokens = check.size("tokens"),
                                                    .draws = check.size("draws"),
                                                    .ids = ids.as<int32_t>(),
                                                    .drawn = drawn.as<int32_t>(),
                                                });
}

}  // namespace mamba
