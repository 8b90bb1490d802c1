#include "ops/linear.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {

void linear(Stream& stream, Tensor out, Tensor x, Tensor weight, std::optional<Tensor> bias) {
  Checker check("linear", stream.device());
  if (!(weight.layout == Layout::packed)) check.refuse("weight is not packed; make it with packLinearWeight");
  Tensor matrix = weight;  // its sizes are those of the matrix; only the order of the elements is the backend's
  matrix.layout = Layout::strided;
  check.shape(matrix, "weight", {"n", "k"}).dtype(weight, "weight", kFloatTypes);
  check.shape(x, "x", {"m", "k"}).dtype(x, "x", kFloatTypes).last_contiguous(x, "x");
  check.shape(out, "out", {"m", "n"}).dtype(out, "out", {DType::f32, x.dtype}).last_contiguous(out, "out");
  if (bias) check.shape(*bias, "bias", {"n"}).dtype(*bias, "bias", {DType::f32}).contiguous(*bias, "bias");
  if (out.elements() == 0) return;
  backend_of(stream).linear(stream, {
                                        .m = check.size("m"),
                                        .n = check.size("n"),
                                        .k = check.size("k"),
                                        .x = x.data,
                                        .x_stride = x.stride(0),
                                        .weight = weight.data,
                                        .bias = bias ? bias->as<float>() : nullptr,
                                        .out = out.data,
                                        .out_stride = out.stride(0),
                                        .x_dtype = x.dtype,
                                        .weight_dtype = weight.dtype,
                                        .out_dtype = out.dtype,
                                    });
}

}  // namespace mamba
