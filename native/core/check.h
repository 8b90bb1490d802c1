#pragma once
// Checks of an op's tensors. A Checker binds named sizes (T, H, P, ...) on first use and compares them afterwards, so a
// message can say `weight is [5, 64], expected [width, dim] with dim = 128 (from x)`.
#include <array>
#include <initializer_list>
#include <string>

#include "core/device.h"
#include "core/error.h"
#include "core/tensor.h"

namespace mamba {

// What activations and states may be.
inline constexpr std::initializer_list<DType> kFloatTypes = {DType::f32, DType::bf16, DType::f16};
// What packed weights may be.
inline constexpr std::initializer_list<DType> kWeightTypes = {DType::f32,  DType::bf16, DType::f16, DType::i8,
                                                              DType::e4m3, DType::u4,   DType::e2m1};

class Checker {
 public:
  Checker(const char* op, const Device& device) : op_(op), device_(device) {}

  // Requires rank and sizes as named. A name that is a number literal ("1") requires just that size.
  Checker& shape(const Tensor& t, const char* name, std::initializer_list<const char*> dims);
  // Lives on the stream's device, in rows and not packed.
  Checker& strided(const Tensor& t, const char* name);
  Checker& dtype(const Tensor& t, const char* name, std::initializer_list<DType> allowed);
  Checker& same_dtype(const Tensor& a, const char* a_name, const Tensor& b, const char* b_name);
  // The last dimension (or all, for `contiguous`) must have stride 1.
  Checker& last_contiguous(const Tensor& t, const char* name);
  Checker& contiguous(const Tensor& t, const char* name);
  // All dimensions but the first are contiguous.
  Checker& inner_contiguous(const Tensor& t, const char* name);
  // Most tensors are one of two: contiguous and of one type, or rows that may lie apart from each other.
  Checker& dense(const Tensor& t, const char* name, std::initializer_list<const char*> dims, DType type);
  Checker& rows(const Tensor& t, const char* name, std::initializer_list<const char*> dims,
                std::initializer_list<DType> allowed = kFloatTypes);
  // `out` is other memory than `x`, which is still read when out is written: `why` says by whom.
  Checker& apart(const Tensor& out, const Tensor& x, const char* x_name, const char* why);
  // What is added below a root: a finite number, 0 or more.
  Checker& eps(double value, const char* name = "eps");
  // For everything else: `if (!ok) check.refuse("...")`, so that the text is only built when it is needed.
  [[noreturn]] void refuse(const std::string& detail) const { fail(ErrorCode::Argument, detail); }

  // A size bound by shape().
  int64_t size(const char* dim) const;

 private:
  [[noreturn]] void fail(ErrorCode code, const std::string& detail) const { throw Error(code, op_, detail); }

  struct Bound {
    const char *dim, *tensor;
    int64_t size;
  };
  const Bound* find(const char* dim) const;

  const char* op_;
  const Device& device_;
  std::array<Bound, 12> bound_;
  size_t bound_count_ = 0;
};

}  // namespace mamba
