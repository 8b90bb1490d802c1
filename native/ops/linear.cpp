#include "ops/linear.h"

#include "core/check.h"
#include "ops/backend.h"
#include "ops/packed_weight.h"

namespace mamba {
namespace {

// `x` is what is multiplied; `x_name` what a message calls it.
LinearParams checked(Checker& check, Tensor out, Tensor x, const char* x_name, Tensor weight,
                     std::optional<Tensor> bias, double alpha, bool accumulate) {
  check_packed(check, weight, "weight", {"n", "k"});
  check.rows(x, x_name, {"m", "k"});
  check.rows(out, "out", {"m", "n"}, {DType::f32, x.dtype});
  if (bias) check.dense(*bias, "bias", {"n"}, DType::f32);
  LinearParams params = product(out, x, weight);
  params.bias = bias ? bias->as<float>() : nullptr;
  params.alpha = static_cast<float>(alpha);
  params.accumulate = accumulate;
  return params;
}

}  // namespace

void linear(Stream& stream, Tensor out, Tensor x, Tensor weight, std::optional<Tensor> bias, double alpha,
            bool accumulate) {
  Checker check("linear", stream.device());
  const LinearParams params = checked(check, out, x, "x", weight, bias, alpha, accumulate);
  if (out.elements() == 0) return;
  backend_of(stream).linear(stream, params);
}

void rms_norm_linear(Stream& stream, Tensor out, Tensor x, Tensor norm_weight, double eps, Tensor normed, Tensor weight,
                     std::optional<Tensor> bias, double alpha, bool accumulate) {
  Checker check("rms_norm_linear", stream.device());
  const LinearParams product = checked(check, out, normed, "normed", weight, bias, alpha, accumulate);
  check.contiguous(normed, "normed");
  check.rows(x, "x", {"m", "k"});
  check.dense(norm_weight, "norm_weight", {"k"}, DType::f32);
  check.eps(eps);
  if (out.elements() == 0) return;
  backend_of(stream).rms_norm_linear(stream, {
                                                 .x = x.data,
                                                 .x_stride = x.stride(0),
                                                 .norm_weight = norm_weight.as<float>(),
                                                 .eps = static_cast<float>(eps),
                                                 .x_dtype = x.dtype,
                                                 .linear = product,
                                             });
}

}  // namespace mamba
