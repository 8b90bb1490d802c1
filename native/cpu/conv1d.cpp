#include "cpu/conv1d.h"

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/thread_pool.h"

namespace mamba::cpu {
namespace {

// About 10 us of work: less is not worth a fork.
constexpr int64_t kTaskElements = 16384;
// Two tasks should not write to one cache line.
constexpr int64_t kChannelStep = 64;

// Runs kernel(row, channels) over rows of `tokens` x `dim` elements: narrow rows in groups, wide ones in ranges.
template <class Kernel>
void for_rows(ThreadPool& pool, int64_t rows, int64_t tokens, int64_t dim, Kernel&& kernel) {
  if (rows == 0 || dim == 0) return;
  const int64_t width = std::max<int64_t>(kTaskElements / tokens / kChannelStep, 1) * kChannelStep;
  const int64_t ranges = (dim + width - 1) / width;
  const int64_t group = std::max<int64_t>(1, kTaskElements / (tokens * dim));
  pool.parallel_for((rows + group - 1) / group * ranges, [&](int64_t task, Scratch&) {
    const int64_t begin = task / ranges * group, channel = task % ranges * width;
    for (int64_t row = begin; row < std::min(rows, begin + group); ++row) {
      kernel(row, Range{channel, std::min(dim, channel + width)});
    }
  });
}

}  // namespace

void run_causal_conv1d_update(const CausalConv1dUpdateParams& p, ThreadPool& pool) {
  for_rows(pool, p.rows, 1, p.dim,
           [&](int64_t row, Range channels) { kernels().causal_conv1d_update(p, row, channels); });
}

void run_causal_conv1d_varlen(const CausalConv1dVarlenParams& p, ThreadPool& pool) {
  const int64_t tokens_per_block = std::max<int64_t>(1, p.tokens / std::max<int64_t>(1, p.blocks));
  for_rows(pool, p.blocks, tokens_per_block, p.dim,
           [&](int64_t block, Range channels) { kernels().causal_conv1d_varlen(p, block, channels); });
}

}  // namespace mamba::cpu
