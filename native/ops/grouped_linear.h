#pragma once
#include "ops/activation.h"

namespace mamba {

struct GroupedLinearParams {
  int64_t rows, x_rows, experts;
  int64_t n, k;     // of an expert's weight
  int64_t columns;  // of out: n, or n / 2 if gated
  const void* x;    // [x_rows, k], row stride x_stride
  int64_t x_stride;
  const int32_t* row_token;  // [rows], the row of x of each row, or null: row r of x
  const int32_t* offsets;    // [experts + 1], where the rows of each expert begin; rows past the last stay as they are
  const void* weight;        // experts packed [n, k], linear_weight_bytes apart
  void* out;                 // [rows, columns], row stride out_stride
  int64_t out_stride;
  Activation activation;
  bool gated;  // out = f(the first n / 2 products) times the others, instead of f(all)
  DType x_dtype, weight_dtype, out_dtype;
  int64_t weight_group = 0;  // of weights of codes (core/codes.h)
};

}  // namespace mamba
