#include "ops/collectives.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {
namespace {

const Membership& membership_of(const Stream& stream, const Checker& check) {
  const Membership& membership = stream.membership();
  if (!membership.group) check.refuse("the device is in no group; join it with the others first");
  return membership;
}

}  // namespace

void all_reduce(Stream& stream, Tensor out, Tensor x, std::optional<Tensor> squares, int64_t channels, double eps,
                bool accumulate, bool clear) {
  Checker check("all_reduce", stream.device());
  check.rows(x, "x", {"rows", "width"});
  check.rows(out, "out", {"rows", "width"});
  check.apart(out, x, "x", "other ranks read x");
  if (squares) {
    check.dense(*squares, "squares", {"rows", "1"}, DType::f32);
    check.eps(eps);
    if (channels < 0) check.refuse("channels is " + std::to_string(channels) + ", expected 0 or more");
  }
  const Membership& membership = membership_of(stream, check);
  if (out.elements() == 0) return;
  backend_of(stream).all_reduce(stream, {
                                            .rows = check.size("rows"),
                                            .width = check.size("width"),
                                            .x = x.data,
                                            .x_stride = x.stride(0),
                                            .out = out.data,
                                            .out_stride = out.stride(0),
                                            .squares = squares ? squares->as<float>() : nullptr,
                                            .channels = channels,
                                            .eps = static_cast<float>(eps),
                                            .accumulate = accumulate,
                                            .clear = clear,
                                            .x_dtype = x.dtype,
                                            .out_dtype = out.dtype,
                                            .membership = membership,
                                        });
}

void all_gather(Stream& stream, Tensor out, int64_t unit) {
  Checker check("all_gather", stream.device());
  check.rows(out, "out", {"rows", "width"});
  if (unit < 1) check.refuse("unit is " + std::to_string(unit) + ", expected 1 or more");
  const Membership& membership = membership_of(stream, check);
  if (out.elements() == 0) return;
  backend_of(stream).all_gather(stream, {
                                            .rows = check.size("rows"),
                                            .width = check.size("width"),
                                            .out = out.data,
                                            .out_stride = out.stride(0),
                                            .unit = unit,
                                            .dtype = out.dtype,
                                            .membership = membership,
                                        });
}

}  // namespace mamba
