#include "ops/linear_activation.h"

#include "core/check.h"
#include "ops/backend.h"
#include "ops/packed_weight.h"

namespace mamba {

void linear_activation(Stream& stream, Tensor out, Tensor x, Tensor weight, int64_t activation, bool gated,
                       double scale) {
  Checker check("linear_activation", stream.device());
  check_packed(check, weight, "weight", {"n", "k"});
  check.rows(x, "x", {"m", "k"});
  check.shape(out, "out", {"m", "n"}).same_dtype(out, "out", x, "x").last_contiguous(out, "out");
  const int64_t n = check.size("n"), width = gated ? n / 2 : n;
  if (gated && n % 2 != 0)
    check.refuse("a gated weight has n = " + std::to_string(n) + " rows, expected an even number");
  const Activation chosen = checked_activation(check, activation);
  if (out.elements() == 0) return;
  const size_t up = static_cast<size_t>(width) * size_of(out.dtype);
  backend_of(stream).linear_activation(stream,
                                       {
                                           .linear = product(out, x, weight),
                                           .activation =
                                               {
                                                   .rows = check.size("m"),
                                                   .width = width,
                                                   .x = out.data,
                                                   .x_stride = out.stride(0),
                                                   .up = gated ? static_cast<const char*>(out.data) + up : nullptr,
                                                   .up_stride = gated ? out.stride(0) : 0,
                                                   .out = out.data,
                                                   .out_stride = out.stride(0),
                                                   .scale = static_cast<float>(scale),
                                                   .activation = chosen,
                                                   .broadcast = false,
                                                   .x_dtype = out.dtype,
                                                   .out_dtype = out.dtype,
                                               },
                                       });
}

}  // namespace mamba
