#pragma once
// linear on the CPU: the packed weight's size, and the cut of the work into tasks.
#include <cstddef>
#include <cstdint>

#include "ops/linear.h"

namespace mamba::cpu {

class ThreadPool;

// Columns of one panel of a packed weight; see linear.inl for the layout.
inline constexpr int kPanelColumns = 32;

size_t linear_weight_bytes(int64_t n, int64_t k, DType dtype, int64_t group);

// The panels of a weight of codes; see quantized_linear.inl for the layout.
struct QuantizedPanels {
  int64_t chunks;      // of 32 of k
  int64_t runs;        // of a chunk that have scales of their own: 1, or 2 of 16
  int64_t group_runs;  // of a group
  int64_t panel_bytes;
};
inline constexpr int64_t kScalesBytes = 128;  // of a group

inline QuantizedPanels quantized_panels(int64_t k, DType dtype, int64_t group) {
  const int64_t chunks = (k + 31) / 32;
  const bool whole = group >= k;
  const int64_t runs = !whole && group % 32 != 0 ? 2 : 1, run = 32 / runs;
  const int64_t group_runs = whole ? chunks : group / run;
  const int64_t groups = (chunks * runs + group_runs - 1) / group_runs;
  const int64_t chunk_bytes = (dtype == DType::u4 ? 16 : 32) * kPanelColumns;
  return {chunks, runs, group_runs, groups * kScalesBytes + chunks * chunk_bytes};
}

// Rows and columns of one task. Columns are whole strips of what the kernel for few rows takes, so a task's begin at
// a multiple of kPanelColumns.
struct LinearCut {
  int64_t rows, columns;
};
// Of [m, k] by [n, k] into at least `tasks`, if they are worth it.
LinearCut cut_linear(int64_t m, int64_t n, int64_t k, DType weight_dtype, int64_t weight_group, int64_t tasks);

// A preempted thread holds the others up for an eighth of an op at most.
inline constexpr int64_t kLinearTasksPerThread = 8;

// What one task over `rows` rows needs: its rows of x in the order of the micro-kernel.
size_t linear_scratch_bytes(int64_t rows, int64_t k);

void run_linear(const LinearParams& params, ThreadPool& pool);
void run_rms_norm_linear(const RmsNormLinearParams& params, ThreadPool& pool);
void run_pack_linear_weight(const PackLinearWeightParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
