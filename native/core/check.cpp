#include "core/check.h"

#include <cctype>
#include <cstdlib>

namespace mamba {

Checker& Checker::shape(const Tensor& t, const char* name, std::initializer_list<const char*> dims) {
  std::string expected = "[";
  for (const char* dim : dims) expected += (expected.size() > 1 ? ", " : "") + std::string(dim);
  expected += "]";
  const std::string text = std::string(name) + " is " + t.shape_text() + ", expected " + expected;
  if (t.device != &device_) fail(ErrorCode::Device, std::string(name) + " lives on another device than the stream");
  if (t.layout != Layout::strided) fail(ErrorCode::Shape, std::string(name) + " is a packed weight; only linear takes one");
  if (t.rank != static_cast<int>(dims.size())) fail(ErrorCode::Shape, text);
  int i = 0;
  for (const char* dim : dims) {
    const int64_t actual = t.size(i++);
    if (std::isdigit(static_cast<unsigned char>(dim[0]))) {
      if (actual != std::atoll(dim)) fail(ErrorCode::Shape, text);
      continue;
    }
    bool known = false;
    for (const Bound& b : bound_) {
      if (b.dim != dim) continue;
      known = true;
      if (b.size != actual) {
        fail(ErrorCode::Shape, text + " with " + b.dim + " = " + std::to_string(b.size) + " (from " + b.tensor + ")");
      }
    }
    if (!known) bound_.push_back({dim, name, actual});
  }
  return *this;
}

Checker& Checker::dtype(const Tensor& t, const char* name, std::initializer_list<DType> allowed) {
  std::string expected;
  for (DType d : allowed) {
    if (t.dtype == d) return *this;
    expected += (expected.empty() ? "" : " or ") + std::string(name_of(d));
  }
  fail(ErrorCode::Dtype, std::string(name) + " is " + name_of(t.dtype) + ", expected " + expected);
}

Checker& Checker::same_dtype(const Tensor& a, const char* a_name, const Tensor& b, const char* b_name) {
  if (a.dtype != b.dtype) {
    fail(ErrorCode::Dtype, std::string(a_name) + " is " + name_of(a.dtype) + ", expected " + name_of(b.dtype) +
                               ", the type of " + b_name);
  }
  return *this;
}

Checker& Checker::last_contiguous(const Tensor& t, const char* name) {
  const int last = t.rank - 1;
  if (t.size(last) > 1 && t.stride(last) != 1) {
    fail(ErrorCode::Shape, std::string(name) + " has stride " + std::to_string(t.stride(last)) +
                               " in its last dimension, expected 1");
  }
  return *this;
}

Checker& Checker::contiguous(const Tensor& t, const char* name) {
  if (!t.contiguous()) fail(ErrorCode::Shape, std::string(name) + " of shape " + t.shape_text() + " is not contiguous");
  return *this;
}

Checker& Checker::argument(bool ok, const std::string& detail) {
  if (!ok) fail(ErrorCode::Argument, detail);
  return *this;
}

int64_t Checker::size(const char* dim) const {
  for (const Bound& b : bound_) {
    if (b.dim == dim) return b.size;
  }
  fail(ErrorCode::Argument, std::string("internal: size ") + dim + " was never bound");
}

}  // namespace mamba
