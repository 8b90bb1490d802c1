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

// Rows and columns of one task. Columns are whole strips of what the kernel for few rows takes, so a task's begin at
// a multiple of kPanelColumns.
struct LinearCut {
  int64_t rows, columns;
};
// Of [m, k] by [n, k] into at least `tasks`, if they are worth it.
LinearCut cut_linear(int64_t m, int64_t n, int64_t k, DType weight_dtype, int64_t tasks);

// A preempted thread holds the others up for an eighth of an op at most.
inline constexpr int64_t kTasksPerThread = 8;

// What one task over `rows` rows needs: its rows of x in the order of the micro-kernel.
size_t linear_scratch_bytes(int64_t rows, int64_t k);

void run_linear(const LinearParams& params, ThreadPool& pool);
void run_rms_norm_linear(const RmsNormLinearParams& params, ThreadPool& pool);
void run_pack_linear_weight(const PackLinearWeightParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
