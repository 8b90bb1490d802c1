#include "cpu/grouped_linear.h"

#include <algorithm>
#include <vector>

#include "cpu/cut.h"
#include "cpu/linear.h"

namespace mamba::cpu {
namespace {

// The tasks of one expert.
struct Share {
  int64_t expert, first_task;
  Range rows;
  LinearCut cut;
  int64_t row_blocks;
};

}  // namespace

// A gated task has, for each of its columns, one of the gate and one of the up-projection, which begins in the middle
// of a panel if n / 2 is no multiple of one.
size_t grouped_linear_scratch_bytes(const GroupedLinearParams& p, int64_t rows, int64_t columns) {
  if (p.activation == Activation::identity && !p.gated) return linear_scratch_bytes(rows, p.k);
  const int64_t products = p.gated ? 2 * columns + kPanelColumns : columns;
  return linear_scratch_bytes(rows, p.k) + static_cast<size_t>(rows * products) * sizeof(float);
}

void run_grouped_linear(const GroupedLinearParams& p, ThreadPool& pool) {
  const Kernels& table = kernels();
  const int64_t n = p.columns;
  std::vector<Share> shares;
  int64_t used = 0, tasks = 0;
  for (int64_t e = 0; e < p.experts; ++e) used += p.offsets[e + 1] > p.offsets[e];
  for (int64_t e = 0; e < p.experts; ++e) {
    const Range rows = {std::max<int64_t>(p.offsets[e], 0), std::min<int64_t>(p.offsets[e + 1], p.rows)};
    const int64_t m = rows.end - rows.begin;
    if (m <= 0) continue;
    const LinearCut cut =
        cut_linear(m, n, p.k, p.weight_dtype, p.weight_group, ceil_div(pool.threads() * kLinearTasksPerThread, used));
    shares.push_back({e, tasks, rows, cut, ceil_div(m, cut.rows)});
    tasks += shares.back().row_blocks * ceil_div(n, cut.columns);
  }
  const size_t expert_bytes = linear_weight_bytes(p.n, p.k, p.weight_dtype, p.weight_group);
  pool.parallel_for(tasks, [&](int64_t task, Scratch& scratch) {
    const Share& share = *std::prev(std::upper_bound(shares.begin(), shares.end(), task,
                                                     [](int64_t t, const Share& s) { return t < s.first_task; }));
    const int64_t index = task - share.first_task;
    const int64_t row = share.rows.begin + index % share.row_blocks * share.cut.rows;
    const int64_t column = index / share.row_blocks * share.cut.columns;
    const Range rows = {row, std::min(row + share.cut.rows, share.rows.end)};
    const Range columns = {column, std::min(column + share.cut.columns, n)};
    table.grouped_linear(
        p, static_cast<const char*>(p.weight) + static_cast<size_t>(share.expert) * expert_bytes, rows, columns,
        scratch.get(grouped_linear_scratch_bytes(p, rows.end - rows.begin, columns.end - columns.begin)));
  });
}

}  // namespace mamba::cpu
