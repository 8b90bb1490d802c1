#include "ops/packed_state.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {
namespace {

void check_state(Checker& check, const Tensor& state, const Tensor& codes, const Tensor& scales) {
  check.shape(state, "state", {"heads", "channels", "columns"}).dtype(state, "state", kFloatTypes);
  check.shape(codes, "codes", {"heads", "channels", "columns"}).dtype(codes, "codes", {DType::u8});
  check.shape(scales, "scales", {"heads", "columns"}).dtype(scales, "scales", {DType::f32});
  check.contiguous(state, "state").contiguous(codes, "codes").contiguous(scales, "scales");
}

}  // namespace

void pack_state(Stream& stream, Tensor codes, Tensor scales, Tensor state) {
  Checker check("pack_state", stream.device());
  check_state(check, state, codes, scales);
  if (state.elements() == 0) return;
  backend_of(stream).pack_state(stream, {
                                            .heads = check.size("heads"),
                                            .channels = check.size("channels"),
                                            .columns = check.size("columns"),
                                            .codes = codes.as<uint8_t>(),
                                            .scales = scales.as<float>(),
                                            .state = state.data,
                                            .dtype = state.dtype,
                                        });
}

void unpack_state(Stream& stream, Tensor state, Tensor codes, Tensor scales) {
  Checker check("unpack_state", stream.device());
  check_state(check, state, codes, scales);
  if (state.elements() == 0) return;
  backend_of(stream).unpack_state(stream, {
                                              .heads = check.size("heads"),
                                              .channels = check.size("channels"),
                                              .columns = check.size("columns"),
                                              .state = state.data,
                                              .codes = codes.as<uint8_t>(),
                                              .scales = scales.as<float>(),
                                              .dtype = state.dtype,
                                          });
}

}  // namespace mamba
