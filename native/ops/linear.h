#pragma once
#include <memory>

#include "core/dtype.h"
#include "core/source.h"
#include "ops/norm.h"

namespace mamba {

struct LinearParams {
  int64_t m, n, k;  // rows of x, rows of weight, common width
  const void* x;    // [m, k], row stride x_stride
  int64_t x_stride;
  const void* weight;  // packed [n, k]
  const float* bias;   // [n] or null
  void* out;           // [m, n], row stride out_stride
  int64_t out_stride;
  float alpha = 1;  // of the product, before the bias
  bool accumulate;  // out += instead of out =
  DType x_dtype, weight_dtype, out_dtype;
  int64_t weight_group = 0;       // of a weight of codes (core/codes.h)
  int64_t weight_group_rows = 1;  // and its blocks' rows, which share scales
  bool quantize_x = false;        // rows of x may be rounded to codes as well
};

struct RmsNormLinearParams {
  const void* x;  // [m, k], row stride x_stride
  int64_t x_stride;
  const float* norm_weight;  // [k]
  float eps;
  DType x_dtype;
  // The product of the normalised rows: linear.x [m, k] is contiguous scratch of linear.x_dtype, the type that they
  // have in it: a backend may write them there. Its content is undefined afterwards.
  LinearParams linear;

  // The norm into that scratch: what is left for a backend to run apart is `linear`.
  RmsNormParams norm() const {
    return {
        .rows = linear.m,
        .width = linear.k,
        .x = x,
        .x_stride = x_stride,
        .residual = nullptr,
        .weight = norm_weight,
        .out = const_cast<void*>(linear.x),
        .eps = eps,
        .x_dtype = x_dtype,
        .residual_dtype = x_dtype,
        .out_dtype = linear.x_dtype,
    };
  }
};

// Floats are converted, or quantized if the packed weight is of codes; codes keep their type, or become floats.
struct PackLinearWeightParams {
  int64_t n, k;
  std::shared_ptr<const Source> src;  // row-major [n, k]; a row of codes takes whole bytes
  void* dst;                          // linear_weight_bytes(n, k, dst_dtype, group)
  DType src_dtype, dst_dtype;
  int64_t group = 0;        // of the codes on either side
  bool quantize_x = false;  // see LinearParams
  std::shared_ptr<const Source> scales = {},
                                offsets = {};  // of codes as source: f32 [n, groups_of(k, group)]; offsets of u4
};

}  // namespace mamba
