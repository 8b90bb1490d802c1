#include "ops/activation.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {

Activation checked_activation(Checker& check, int64_t code) {
  if (code < 0 || code >= kActivationCount)
    check.refuse("activation is " + std::to_string(code) + ", expected 0 to " + std::to_string(kActivationCount - 1));
  return static_cast<Activation>(code);
}

void activation(Stream& stream, Tensor out, Tensor x, std::optional<Tensor> up, int64_t activation, double scale) {
  Checker check("activation", stream.device());
  check.rows(out, "out", {"rows", "width"});
  if (up) check.shape(*up, "up", {"rows", "width"}).last_contiguous(*up, "up");
  const bool broadcast = up && x.rank == 2 && x.size(1) == 1;
  check.rows(x, "x", {"rows", broadcast ? "1" : "width"});
  if (up) check.same_dtype(*up, "up", x, "x");
  const Activation chosen = checked_activation(check, activation);
  if (out.elements() == 0) return;
  backend_of(stream).activation(stream, {
                                            .rows = check.size("rows"),
                                            .width = check.size("width"),
                                            .x = x.data,
                                            .x_stride = x.stride(0),
                                            .up = up ? up->data : nullptr,
                                            .up_stride = up ? up->stride(0) : 0,
                                            .out = out.data,
                                            .out_stride = out.stride(0),
                                            .scale = static_cast<float>(scale),
                                            .activation = chosen,
                                            .broadcast = broadcast,
                                            .x_dtype = x.dtype,
                                            .out_dtype = out.dtype,
                                        });
}

void scale(Stream& stream, Tensor out, Tensor x, double alpha, bool accumulate) {
  Checker check("scale", stream.device());
  check.rows(x, "x", {"rows", "width"});
  check.rows(out, "out", {"rows", "width"});
  if (out.elements() == 0) return;
  backend_of(stream).scale(stream, {
                                       .rows = check.size("rows"),
                                       .width = check.size("width"),
                                       .x = x.data,
                                       .x_stride = x.stride(0),
                                       .out = out.data,
                                       .out_stride = out.stride(0),
                                       .alpha = static_cast<float>(alpha),
                                       .accumulate = accumulate,
                                       .x_dtype = x.dtype,
                                       .out_dtype = out.dtype,
                                   });
}

}  // namespace mamba
