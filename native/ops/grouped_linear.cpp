#include "ops/grouped_linear.h"

#include "core/check.h"
#include "ops/backend.h"
#include "ops/packed_weight.h"

namespace mamba {

void grouped_linear(Stream& stream, Tensor out, Tensor x, Tensor weight, Tensor offsets,
                    std::optional<Tensor> row_token, int64_t activation, bool gated) {
  Checker check("grouped_linear", stream.device());
  check_packed(check, weight, "weight", {"experts", "n", "k"});
  check.rows(x, "x", {row_token ? "tokens" : "rows", "k"});
  if (row_token) {
    check.dense(*row_token, "row_token", {"rows"}, DType::i32);
  }
  check.dense(offsets, "offsets", {"offsets"}, DType::i32);
  if (check.size("offsets") != check.size("experts") + 1)
    check.refuse("offsets is " + offsets.shape_text() +
                 ", expected one more than experts = " + std::to_string(check.size("experts")));
  if (gated && check.size("n") % 2 != 0)
    check.refuse("a gated weight has n = " + std::to_string(check.size("n")) + " rows, expected an even number");
  check.rows(out, "out", {"rows", "columns"}, {DType::f32, x.dtype});
  const int64_t columns = check.size("n") / (gated ? 2 : 1);
  if (check.size("columns") != columns)
    check.refuse("out is " + out.shape_text() + ", expected " + std::to_string(columns) + " columns");
  const Activation chosen = checked_activation(check, activation);
  if (out.elements() == 0 || x.size(0) == 0) return;
  backend_of(stream).grouped_linear(stream, {
                                                .rows = check.size("rows"),
                                                .x_rows = x.size(0),
                                                .experts = check.size("experts"),
                                                .n = check.size("n"),
                                                .k = check.size("k"),
                                                .columns = columns,
                                                .x = x.data,
                                                .x_stride = x.stride(0),
                                                .row_token = row_token ? row_token->as<int32_t>() : nullptr,
                                                .offsets = offsets.as<int32_t>(),
                                                .weight = weight.data,
                                                .out = out.data,
                                                .out_stride = out.stride(0),
                                                .activation = chosen,
                                                .gated = gated,
                                                .x_dtype = x.dtype,
                                                .weight_dtype = weight.dtype,
                                                .out_dtype = out.dtype,
                                                .weight_group = weight.group,
                                            });
}

}  // namespace mamba
