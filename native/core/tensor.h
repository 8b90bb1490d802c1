#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace mamba {

class Device;

inline constexpr int kMaxRank = 4;

// How the elements of a matrix lie in memory. `packed` is a backend's own order for linear's weights (see linear.h);
// no op but linear reads such a tensor, and its strides mean nothing.
enum class Layout : int32_t { strided = 0, packed = 1 };

// A view of device memory. It owns nothing. Strides are in elements, as everywhere in this project.
struct Tensor {
  void* data = nullptr;
  const Device* device = nullptr;
  DType dtype = DType::f32;
  Layout layout = Layout::strided;
  int64_t group = 0;        // of a packed weight of codes: how many of a row share a scale
  int64_t group_rows = 1;   // and of how many rows, from a multiple of that on, the scales are the same
  bool quantize_x = false;  // what it is multiplied with may be rounded to codes as well
  int32_t rank = 0;
  std::array<int64_t, kMaxRank> sizes{};
  std::array<int64_t, kMaxRank> strides{};

  int64_t size(int dim) const { return sizes[static_cast<size_t>(dim)]; }
  int64_t stride(int dim) const { return strides[static_cast<size_t>(dim)]; }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= size(i);
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(elements()) * size_of(dtype); }

  bool contiguous() const {
    int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (size(i) != 1 && stride(i) != expected) return false;
      expected *= size(i);
    }
    return true;
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }

  // Rows [first, first + count) of the first dimension.
  Tensor rows(int64_t first, int64_t count) const {
    Tensor part = *this;
    part.data = as<char>() + static_cast<size_t>(first * stride(0)) * size_of(dtype);
    part.sizes[0] = count;
    return part;
  }

  std::string shape_text() const {
    std::string text = "[";
    for (int i = 0; i < rank; ++i) text += (i ? ", " : "") + std::to_string(size(i));
    return text + "]";
  }
};

}  // namespace mamba
