#include "cpu/conv1d.h"

#include <algorithm>

#include "core/float_type.h"
#include "cpu/cut.h"
#include "cpu/metadata.h"

namespace mamba::cpu {
namespace {

// Two tasks should not write to one cache line.
constexpr int64_t kChannelStep = 64;

// Runs kernel(row, channels) over rows of `tokens` x `dim` elements: narrow rows in groups, wide ones in ranges.
template <class Kernel>
void for_channels(ThreadPool& pool, int64_t rows, int64_t tokens, int64_t dim, Kernel&& kernel) {
  if (rows == 0 || dim == 0) return;
  const int64_t width = std::max<int64_t>(kTaskElements / tokens / kChannelStep, 1) * kChannelStep;
  const int64_t ranges = ceil_div(dim, width);
  const int64_t group = std::max<int64_t>(1, kTaskElements / (tokens * dim));
  pool.parallel_for(ceil_div(rows, group) * ranges, [&](int64_t task, Scratch&) {
    const int64_t begin = task / ranges * group, channel = task % ranges * width;
    for (int64_t row = begin; row < std::min(rows, begin + group); ++row) {
      kernel(row, Range{channel, std::min(dim, channel + width)});
    }
  });
}

// The windows that snapshots ask for: inputs as they are, so a sequence that goes on from one sees the same.
template <class T, class S>
void keep_windows(const CausalConv1dVarlenParams& p, ThreadPool& pool) {
  const int64_t window = p.width - 1;
  pool.parallel_for(p.snapshots, [&](int64_t i, Scratch&) {
    const int64_t slot = p.snapshot_slots[i], first = p.snapshot_ends[i] - window;
    if (slot < 0 || slot >= p.slots_in_pool || first < 0 || first + window > p.tokens) return;
    S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride;
    for (int64_t j = 0; j < window; ++j) {
      const T* x = static_cast<const T*>(p.x) + (first + j) * p.x_stride;
      for (int64_t c = 0; c < p.dim; ++c) state[j * p.dim + c] = from_float<S>(to_float(x[c]));
    }
  });
}

}  // namespace

void run_causal_conv1d_update(const CausalConv1dUpdateParams& p, ThreadPool& pool) {
  for_channels(pool, p.rows, 1, p.dim,
               [&](int64_t row, Range channels) { kernels().causal_conv1d_update(p, row, channels); });
}

void run_causal_conv1d_replay(const CausalConv1dReplayParams& p, ThreadPool& pool) {
  for_channels(pool, p.rows, p.tokens_per_row, p.dim,
               [&](int64_t row, Range channels) { kernels().causal_conv1d_replay(p, row, channels); });
}

void run_causal_conv1d_varlen(const CausalConv1dVarlenParams& p, ThreadPool& pool) {
  constexpr const char* kOp = "causal_conv1d_varlen";
  check_starts(kOp, "query_start_loc", p.query_start_loc, p.sequences, p.tokens);
  check_indices(kOp, "block_seq", p.block_seq, p.blocks, 0, p.sequences);
  check_indices(kOp, "block_offset", p.block_offset, p.blocks, 0, p.tokens);
  const int64_t tokens_per_block = std::max<int64_t>(1, p.tokens / std::max<int64_t>(1, p.blocks));
  for_channels(pool, p.blocks, tokens_per_block, p.dim,
               [&](int64_t block, Range channels) { kernels().causal_conv1d_varlen(p, block, channels); });
  if (p.snapshots == 0) return;
  with_float_type(p.x_dtype, [&](auto x) {
    with_float_type(p.state_dtype, [&](auto state) { keep_windows<decltype(x), decltype(state)>(p, pool); });
  });
}

}  // namespace mamba::cpu
