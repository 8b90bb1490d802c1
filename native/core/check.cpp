#include "core/check.h"

#include <cctype>
#include <cmath>
#include <cstdlib>

namespace mamba {

namespace {

// Mostly one literal, or two that differ in their first letter: a call of strcmp for each pair is what a check takes.
bool same(const char* a, const char* b) {
  if (a == b) return true;
  while (*a == *b && *a != '\0') ++a, ++b;
  return *a == *b;
}

}  // namespace

const Checker::Bound* Checker::find(const char* dim) const {
  for (size_t i = 0; i < bound_count_; ++i) {
    if (same(bound_[i].dim, dim)) return &bound_[i];
  }
  return nullptr;
}

Checker& Checker::shape(const Tensor& t, const char* name, std::initializer_list<const char*> dims) {
  const auto text = [&] {
    std::string expected;
    for (const char* dim : dims) expected += (expected.empty() ? "" : ", ") + std::string(dim);
    return std::string(name) + " is " + t.shape_text() + ", expected [" + expected + "]";
  };
  strided(t, name);
  if (t.rank != static_cast<int>(dims.size())) fail(ErrorCode::Shape, text());
  int i = 0;
  for (const char* dim : dims) {
    const int64_t actual = t.size(i++);
    if (std::isdigit(static_cast<unsigned char>(dim[0]))) {
      if (actual != std::atoll(dim)) fail(ErrorCode::Shape, text());
    } else if (const Bound* known = find(dim)) {
      if (known->size != actual) {
        fail(ErrorCode::Shape,
             text() + " with " + dim + " = " + std::to_string(known->size) + " (from " + known->tensor + ")");
      }
    } else {
      bound_.at(bound_count_++) = {dim, name, actual};
    }
  }
  return *this;
}

Checker& Checker::strided(const Tensor& t, const char* name) {
  if (t.device != &device_) fail(ErrorCode::Device, std::string(name) + " lives on another device than the stream");
  if (t.layout != Layout::strided)
    fail(ErrorCode::Shape, std::string(name) + " is a packed weight; only linear takes one");
  return *this;
}

Checker& Checker::dtype(const Tensor& t, const char* name, std::initializer_list<DType> allowed) {
  for (DType d : allowed) {
    if (t.dtype == d) return *this;
  }
  std::string expected;
  for (DType d : allowed) expected += (expected.empty() ? "" : " or ") + std::string(name_of(d));
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
    fail(ErrorCode::Shape,
         std::string(name) + " has stride " + std::to_string(t.stride(last)) + " in its last dimension, expected 1");
  }
  return *this;
}

Checker& Checker::contiguous(const Tensor& t, const char* name) {
  if (!t.contiguous()) fail(ErrorCode::Shape, std::string(name) + " of shape " + t.shape_text() + " is not contiguous");
  return *this;
}

Checker& Checker::inner_contiguous(const Tensor& t, const char* name) {
  last_contiguous(t, name);
  if (t.rank > 0 && t.size(0) > 0 && !t.rows(0, 1).contiguous())
    refuse(std::string(name) + " has a gap inside it; only its first dimension may be strided");
  return *this;
}

Checker& Checker::dense(const Tensor& t, const char* name, std::initializer_list<const char*> dims, DType type) {
  return shape(t, name, dims).dtype(t, name, {type}).contiguous(t, name);
}

Checker& Checker::rows(const Tensor& t, const char* name, std::initializer_list<const char*> dims,
                       std::initializer_list<DType> allowed) {
  return shape(t, name, dims).dtype(t, name, allowed).last_contiguous(t, name);
}

Checker& Checker::apart(const Tensor& out, const Tensor& x, const char* x_name, const char* why) {
  if (out.data == x.data && out.elements() > 0) refuse(std::string("out is ") + x_name + "; " + why);
  return *this;
}

Checker& Checker::eps(double value, const char* name) {
  if (!(value >= 0 && std::isfinite(value)))
    refuse(std::string(name) + " is " + std::to_string(value) + ", expected 0 or more");
  return *this;
}

int64_t Checker::size(const char* dim) const {
  if (const Bound* bound = find(dim)) return bound->size;
  fail(ErrorCode::Argument, std::string("internal: size ") + dim + " was never bound");
}

}  // namespace mamba
