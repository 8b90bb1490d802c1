#pragma once
// linear on the CPU: the packed weight's size, and the cut of the work into tasks.
#include <cstddef>
#include <cstdint>

#include "ops/linear.h"

namespace mamba::cpu {

class ThreadPool;

// Columns of one panel of a packed weight; see linear.inl for the layout.
inline constexpr int kPanelColumns = 32;

size_t linear_weight_bytes(int64_t n, int64_t k, DType dtype);

// What one task over `rows` rows needs: its rows of x in the order of the micro-kernel.
size_t linear_scratch_bytes(const LinearParams& params, int64_t rows);

void run_linear(const LinearParams& params, ThreadPool& pool);
void run_rms_norm_linear(const RmsNormLinearParams& params, ThreadPool& pool);
void run_pack_linear_weight(const PackLinearWeightParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
