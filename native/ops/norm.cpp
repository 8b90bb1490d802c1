#include "ops/norm.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {
namespace {

// This rank's channels [first, first + width) lie in `groups` groups.
void check_groups(const Checker& check, int64_t group_size, int64_t first) {
  const int64_t end = first + check.size("width"), groups = check.size("groups");
  if (group_size > 0 && first >= 0 && (end + group_size - 1) / group_size <= groups) return;
  check.refuse("channels " + std::to_string(first) + " to " + std::to_string(end) + ", expected them in " +
               std::to_string(groups) + " groups of " + std::to_string(group_size));
}

}  // namespace

void rms_norm(Stream& stream, Tensor out, Tensor x, std::optional<Tensor> residual, Tensor weight, double eps) {
  Checker check("rms_norm", stream.device());
  check.rows(x, "x", {"rows", "width"});
  if (residual) {
    check.shape(*residual, "residual", {"rows", "width"}).dtype(*residual, "residual", kFloatTypes);
    check.contiguous(*residual, "residual");
  }
  check.dense(weight, "weight", {"width"}, DType::f32);
  check.shape(out, "out", {"rows", "width"}).dtype(out, "out", kFloatTypes).contiguous(out, "out");
  check.eps(eps);
  if (out.elements() == 0) return;
  backend_of(stream).rms_norm(stream, {
                                          .rows = check.size("rows"),
                                          .width = check.size("width"),
                                          .x = x.data,
                                          .x_stride = x.stride(0),
                                          .residual = residual ? residual->data : nullptr,
                                          .weight = weight.as<float>(),
                                          .out = out.data,
                                          .eps = static_cast<float>(eps),
                                          .x_dtype = x.dtype,
                                          .residual_dtype = residual ? residual->dtype : x.dtype,
                                          .out_dtype = out.dtype,
                                      });
}

void gated_rms_norm(Stream& stream, Tensor out, Tensor x, Tensor gate, Tensor weight, int64_t group_size, double eps,
                    bool norm_before_gate) {
  Checker check("gated_rms_norm", stream.device());
  check.rows(x, "x", {"rows", "width"});
  check.shape(gate, "gate", {"rows", "width"}).same_dtype(gate, "gate", x, "x").last_contiguous(gate, "gate");
  check.dense(weight, "weight", {"width"}, DType::f32);
  check.shape(out, "out", {"rows", "width"}).same_dtype(out, "out", x, "x").contiguous(out, "out");
  if (!(group_size > 0 && check.size("width") % group_size == 0))
    check.refuse("group_size is " + std::to_string(group_size) + ", expected a divisor of width " +
                 std::to_string(check.size("width")));
  check.eps(eps);
  if (out.elements() == 0) return;
  backend_of(stream).gated_rms_norm(stream, {
                                                .rows = check.size("rows"),
                                                .width = check.size("width"),
                                                .group_size = group_size,
                                                .x = x.data,
                                                .x_stride = x.stride(0),
                                                .gate = gate.data,
                                                .gate_stride = gate.stride(0),
                                                .weight = weight.as<float>(),
                                                .out = out.data,
                                                .eps = static_cast<float>(eps),
                                                .norm_before_gate = norm_before_gate,
                                                .dtype = x.dtype,
                                            });
}

void square_sums(Stream& stream, Tensor sums, Tensor x, int64_t group_size, int64_t first) {
  Checker check("square_sums", stream.device());
  check.rows(x, "x", {"rows", "width"});
  check.dense(sums, "sums", {"rows", "groups"}, DType::f32);
  check_groups(check, group_size, first);
  if (sums.elements() == 0) return;
  backend_of(stream).square_sums(stream, {
                                             .rows = check.size("rows"),
                                             .width = check.size("width"),
                                             .groups = check.size("groups"),
                                             .group_size = group_size,
                                             .first = first,
                                             .x = x.data,
                                             .x_stride = x.stride(0),
                                             .sums = sums.as<float>(),
                                             .dtype = x.dtype,
                                         });
}

void rms_norm_of_sums(Stream& stream, Tensor out, Tensor x, Tensor sums, Tensor weight, int64_t group_size,
                      int64_t first, double eps) {
  Checker check("rms_norm_of_sums", stream.device());
  check.rows(x, "x", {"rows", "width"});
  check.dense(sums, "sums", {"rows", "groups"}, DType::f32);
  check.dense(weight, "weight", {"width"}, DType::f32);
  check.shape(out, "out", {"rows", "width"}).same_dtype(out, "out", x, "x").last_contiguous(out, "out");
  check_groups(check, group_size, first);
  check.eps(eps);
  if (out.elements() == 0) return;
  backend_of(stream).rms_norm_of_sums(stream, {
                                                  .rows = check.size("rows"),
                                                  .width = check.size("width"),
                                                  .groups = check.size("groups"),
                                                  .group_size = group_size,
                                                  .first = first,
                                                  .x = x.data,
                                                  .x_stride = x.stride(0),
                                                  .sums = sums.as<float>(),
                                                  .weight = weight.as<float>(),
                                                  .out = out.data,
                                                  .out_stride = out.stride(0),
                                                  .eps = static_cast<float>(eps),
                                                  .dtype = x.dtype,
                                              });
}

}  // namespace mamba
