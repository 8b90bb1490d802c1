#pragma once
// What ops that multiply by packed weights share.
#include <initializer_list>
#include <string>

#include "core/check.h"
#include "ops/linear.h"

namespace mamba {

// A packed weight has the sizes of its matrix, or matrices; only the order of the elements is the backend's.
inline void check_packed(Checker& check, Tensor weight, const char* name, std::initializer_list<const char*> dims) {
  if (weight.layout != Layout::packed)
    check.refuse(std::string(name) + " is not packed; make it with " +
                 (dims.size() == 2 ? "packLinearWeight" : "packExpertWeights"));
  weight.layout = Layout::strided;
  check.shape(weight, name, dims).dtype(weight, name, kWeightTypes);
}

// out = x weight^T, of tensors that were checked.
inline LinearParams product(const Tensor& out, const Tensor& x, const Tensor& weight) {
  return {
      .m = x.size(0),
      .n = weight.size(0),
      .k = weight.size(1),
      .x = x.data,
      .x_stride = x.stride(0),
      .weight = weight.data,
      .bias = nullptr,
      .out = out.data,
      .out_stride = out.stride(0),
      .alpha = 1,
      .accumulate = false,
      .x_dtype = x.dtype,
      .weight_dtype = weight.dtype,
      .out_dtype = out.dtype,
      .weight_group = weight.group,
      .weight_group_rows = weight.group_rows,
      .quantize_x = weight.quantize_x,
  };
}

}  // namespace mamba
