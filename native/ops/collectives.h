#pragma once
#include <cstdint>
#include <memory>

#include "core/dtype.h"
#include "core/group.h"

namespace mamba {

struct AllReduceParams {
  int64_t rows, width;
  void* x;  // [rows, width], row stride x_stride; written with `clear`
  int64_t x_stride;
  void* out;  // [rows, width], row stride out_stride
  int64_t out_stride;
  const float* squares;  // [rows], or null
  int64_t channels;
  float eps;
  bool accumulate, clear;
  DType x_dtype, out_dtype;
  Membership membership;
};

struct AllGatherParams {
  int64_t rows, width;
  void* out;  // [rows, width], row stride out_stride
  int64_t out_stride;
  int64_t unit;
  DType dtype;
  Membership membership;

  // The first column of a rank; of the rank after the last one, width.
  int64_t first_column(int rank) const {
    const int64_t units = (width + unit - 1) / unit, begin = units * rank / membership.group->ranks() * unit;
    return begin < width ? begin : width;
  }
};

}  // namespace mamba
