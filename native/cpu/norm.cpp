#include "cpu/norm.h"

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/thread_pool.h"

namespace mamba::cpu {
namespace {

// About 10 us of work: less is not worth a fork.
constexpr int64_t kTaskElements = 16384;

template <class Body>
void for_rows(ThreadPool& pool, int64_t rows, int64_t width, Body&& body) {
  const int64_t step = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, width));
  pool.parallel_for((rows + step - 1) / step, [&](int64_t task, Scratch& scratch) {
    body(Range{task * step, std::min(rows, (task + 1) * step)}, scratch);
  });
}

}  // namespace

void run_rms_norm(const RmsNormParams& p, ThreadPool& pool) {
  for_rows(pool, p.rows, p.width, [&](Range rows, Scratch&) { kernels().rms_norm(p, rows); });
}

void run_gated_rms_norm(const GatedRmsNormParams& p, ThreadPool& pool) {
  for_rows(pool, p.rows, p.width, [&](Range rows, Scratch& scratch) {
    kernels().gated_rms_norm(p, rows, scratch.get(static_cast<size_t>(p.group_size) * sizeof(float)));
  });
}

}  // namespace mamba::cpu
