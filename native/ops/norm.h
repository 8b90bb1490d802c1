#pragma once
#include "core/dtype.h"

namespace mamba {

struct RmsNormParams {
  int64_t rows, width;
  const void* x;  // [rows, width], row stride x_stride
  int64_t x_stride;
  void* residual;       // [rows, width] contiguous, or null
  const float* weight;  // [width]
  void* out;            // [rows, width] contiguous; may be x, if x is contiguous and of its type
  float eps;
  DType x_dtype, residual_dtype, out_dtype;
};

struct GatedRmsNormParams {
  int64_t rows, width, group_size;
  const void* x;  // [rows, width], row stride x_stride
  int64_t x_stride;
  const void* gate;  // [rows, width], row stride gate_stride
  int64_t gate_stride;
  const float* weight;  // [width]
  void* out;            // [rows, width] contiguous; may be x
  float eps;
  bool norm_before_gate;
  DType dtype;  // of x, gate and out
};

struct SquareSumsParams {
  int64_t rows, width, groups, group_size, first;
  const void* x;  // [rows, width], row stride x_stride
  int64_t x_stride;
  float* sums;  // [rows, groups]
  DType dtype;  // of x
};

struct RmsNormOfSumsParams {
  int64_t rows, width, groups, group_size, first;
  const void* x;  // [rows, width], row stride x_stride
  int64_t x_stride;
  const float* sums;    // [rows, groups]
  const float* weight;  // [width]
  void* out;            // [rows, width], row stride out_stride; may be x
  int64_t out_stride;
  float eps;
  DType dtype;  // of x and out
};

}  // namespace mamba
