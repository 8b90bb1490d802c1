#pragma once
// The cut of an op whose rows are independent and cheap.
#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/thread_pool.h"

namespace mamba::cpu {

// body(rows, scratch) for runs of rows that are worth a fork.
template <class Body>
void for_rows(ThreadPool& pool, int64_t rows, int64_t width, Body&& body) {
  constexpr int64_t kTaskElements = 16384;  // about 10 us of work
  const int64_t step = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, width));
  pool.parallel_for((rows + step - 1) / step, [&](int64_t task, Scratch& scratch) {
    body(Range{task * step, std::min(rows, (task + 1) * step)}, scratch);
  });
}

}  // namespace mamba::cpu
