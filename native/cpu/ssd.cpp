#include "cpu/ssd.h"

#include <algorithm>

#include "cpu/cut.h"
#include "cpu/metadata.h"

namespace mamba::cpu {
namespace {

// About 20 us of work on one core: less is not worth a fork.
constexpr int64_t kSmallScan = 1 << 20;      // multiply-adds
constexpr int64_t kSmallUpdate = 256 << 10;  // bytes of state
// The states of a task stay in L2 from one sub-chunk to the next.
constexpr int64_t kStateBytes = 512 << 10;

}  // namespace

size_t ssd_chunk_scan_scratch_bytes(const SsdChunkScanParams& p, int64_t heads) {
  return static_cast<size_t>(scan_layout(p, heads).floats) * sizeof(float);
}

// A task is a block of heads of one group and sequence. Few blocks: the products of B and C are made once per block.
// Many: all threads have work. So a group is cut until the longest sequence's tasks are a fair share of the whole.
void run_ssd_chunk_scan(const SsdChunkScanParams& p, ThreadPool& pool) {
  if (p.tokens == 0 || p.heads == 0) return;
  check_chunks("ssd_chunk_scan", p);
  const int64_t longest = longest_of(p.query_start_loc, p.sequences);
  const int64_t group_heads = p.heads / p.groups;
  const int64_t state_bytes = std::max<int64_t>(1, p.head_dim * p.state_size * 4);
  const int64_t fair = ceil_div(kTasksPerThread * pool.threads() * longest, p.tokens * p.groups);
  const int64_t cached = ceil_div(group_heads * state_bytes, kStateBytes);
  const int64_t blocks = std::clamp<int64_t>(pool.threads() == 1 ? cached : std::max(fair, cached), 1, group_heads);
  const int64_t per_sequence = p.groups * blocks, tasks = p.sequences * per_sequence;
  const size_t scratch_bytes = ssd_chunk_scan_scratch_bytes(p, ceil_div(group_heads, blocks));

  auto run = [&](int64_t task, Scratch& scratch) {
    const int64_t group = task % per_sequence / blocks;
    const Range heads = part(group_heads, blocks, task % blocks);
    kernels().ssd_chunk_scan(p, task / per_sequence,
                             {group * group_heads + heads.begin, group * group_heads + heads.end},
                             scratch.get(scratch_bytes));
  };
  pool.parallel_for(tasks, 2 * p.tokens * p.heads * p.head_dim * p.state_size < kSmallScan, run);
}

// Floats of all tokens of a row, as ssd_replay.inl lays them out.
size_t ssd_replay_scratch_bytes(const SsdReplayParams& p) {
  const int64_t entries = p.history.entries;
  const int64_t floats = 2 * entries + (entries + p.tokens_per_row) * (p.head_dim + p.state_size);
  return static_cast<size_t>(floats) * sizeof(float);
}

namespace {

// run(row, heads, scratch) for all rows; a task is some heads of a row, of about kSmallUpdate / 2 bytes, each of which
// counts once for every of its `passes`.
template <class Run>
void for_heads(const SsdStateUpdateParams& p, int64_t rows, int64_t passes, ThreadPool& pool, Run run) {
  if (rows == 0 || p.heads == 0) return;
  const int64_t head_bytes =
      std::max<int64_t>(1, passes * p.head_dim * p.state_size * static_cast<int64_t>(size_of(p.state_dtype)));
  const int64_t blocks = std::clamp<int64_t>(ceil_div(2 * p.heads * head_bytes, kSmallUpdate), 1, p.heads);
  pool.parallel_for(rows * blocks, rows * p.heads * head_bytes < kSmallUpdate, [&](int64_t task, Scratch& scratch) {
    run(task / blocks, part(p.heads, blocks, task % blocks), scratch);
  });
}

}  // namespace

void run_ssd_state_update(const SsdStateUpdateParams& p, ThreadPool& pool) {
  for_heads(p, p.rows, 1, pool, [&](int64_t row, Range heads, Scratch&) { kernels().ssd_state_update(p, row, heads); });
}

void run_ssd_replay(const SsdReplayParams& p, ThreadPool& pool) {
  for_heads(p, p.rows, p.tokens_per_row, pool, [&](int64_t row, Range heads, Scratch& scratch) {
    kernels().ssd_replay(p, row, heads, scratch.get(ssd_replay_scratch_bytes(p)));
  });
}

}  // namespace mamba::cpu
