#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace mamba {

class Checker;

// The order is that of src/ops/codes.ts.
enum class Activation : int32_t { identity = 0, silu = 1, gelu = 2, gelu_tanh = 3, relu2 = 4, sigmoid = 5 };
inline constexpr int kActivationCount = 6;

struct ActivationParams {
  int64_t rows, width;
  const void* x;  // [rows, width], row stride x_stride; with `broadcast` [rows, 1]
  int64_t x_stride;
  const void* up;  // [rows, width], row stride up_stride, of x's type; or null
  int64_t up_stride;
  void* out;  // [rows, width], row stride out_stride; may be x or up, if their strides and types are the same
  int64_t out_stride;
  float scale;  // of x, before the activation
  Activation activation;
  bool broadcast;  // one x for each row
  DType x_dtype, out_dtype;
};

struct ScaleParams {
  int64_t rows, width;
  const void* x;  // [rows, width], row stride x_stride
  int64_t x_stride;
  void* out;  // [rows, width], row stride out_stride; may be x, if strides and types are the same
  int64_t out_stride;
  float alpha;
  bool accumulate;  // out += instead of out =
  DType x_dtype, out_dtype;
};

// A code of an activation from outside.
Activation checked_activation(Checker& check, int64_t code);

}  // namespace mamba
