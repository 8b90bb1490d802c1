#include "cpu/kernels.h"
#include "cpu/linear.h"

// The set comes before what is compiled for it.
// clang-format off
#include "cpu/simd/scalar.h"
#include "cpu/kernels_table.inl"
// clang-format on
