#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace mamba {

inline constexpr float kMostCode = 127;

// All contiguous.
struct PackStateParams {
  int64_t heads, channels, columns;
  uint8_t* codes;     // [heads, channels, columns], two's complement
  float* scales;      // [heads, columns]
  const void* state;  // [heads, channels, columns]
  DType dtype;
};

struct UnpackStateParams {
  int64_t heads, channels, columns;
  void* state;           // [heads, channels, columns]
  const uint8_t* codes;  // likewise
  const float* scales;   // [heads, columns]
  DType dtype;
};

}  // namespace mamba
