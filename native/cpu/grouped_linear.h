#pragma once
#include <cstddef>

#include "cpu/thread_pool.h"
#include "ops/grouped_linear.h"

namespace mamba::cpu {

// What one task over `rows` rows and `columns` columns of out needs: rows of x as linear's, and products as floats.
size_t grouped_linear_scratch_bytes(const GroupedLinearParams& params, int64_t rows, int64_t columns);

void run_grouped_linear(const GroupedLinearParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
