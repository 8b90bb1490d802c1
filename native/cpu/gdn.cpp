#include "cpu/gdn.h"

#include <algorithm>

#include "cpu/cut.h"
#include "cpu/metadata.h"

namespace mamba::cpu {
namespace {

// About 20 us of work on one core: less is not worth a fork.
constexpr int64_t kSmallChunk = 1 << 20;     // multiply-adds
constexpr int64_t kSmallUpdate = 256 << 10;  // bytes of state
constexpr int64_t kPanel = 32;               // channels, at least as many as a kernel takes at once

}  // namespace

size_t gdn_chunk_scratch_bytes(const GdnChunkParams& p, int64_t heads, int64_t values) {
  return static_cast<size_t>(delta_layout(p, heads, values).floats) * sizeof(float);
}

size_t gdn_update_scratch_bytes(const GdnUpdateParams& p) { return static_cast<size_t>(2 * p.key_dim) * sizeof(float); }

// A query, a key, the state of a head, and room for what a token that is only absorbed would put out.
size_t gdn_replay_scratch_bytes(const GdnReplayParams& p) {
  return static_cast<size_t>(2 * p.key_dim + p.value_dim * (p.key_dim + 1)) * sizeof(float);
}

// A task is a block of value heads of one key head and sequence: few blocks, and the products of q and k are made once
// for them. A key head is cut until the longest sequence's tasks are a fair share of the whole; where its heads are too
// few for that, their channels are cut too.
void run_gdn_chunk(const GdnChunkParams& p, ThreadPool& pool) {
  if (p.tokens == 0 || p.value_heads == 0) return;
  check_chunks("gdn_chunk", p);
  const int64_t longest = longest_of(p.query_start_loc, p.sequences);
  const int64_t group = p.value_heads / p.key_heads;
  const int64_t fair =
      pool.threads() == 1 ? 1 : ceil_div(kTasksPerThread * pool.threads() * longest, p.tokens * p.key_heads);
  const int64_t heads = std::max<int64_t>(1, group / std::max<int64_t>(1, fair)), blocks = ceil_div(group, heads);
  const int64_t cuts = std::clamp<int64_t>(fair / group, 1, ceil_div(p.value_dim, kPanel));
  const int64_t values = ceil_div(ceil_div(p.value_dim, cuts), kPanel) * kPanel, parts = ceil_div(p.value_dim, values);
  const int64_t tasks = p.sequences * p.key_heads * blocks * parts;
  const size_t scratch_bytes = gdn_chunk_scratch_bytes(p, heads, std::min(values, p.value_dim));

  auto run = [&](int64_t task, Scratch& scratch) {
    const int64_t value = task % parts * values, block = task / parts % blocks;
    const int64_t key_head = task / parts / blocks % p.key_heads, first = key_head * group + block * heads;
    kernels().gdn_chunk(p, task / parts / blocks / p.key_heads,
                        {first, std::min(first + heads, (key_head + 1) * group)},
                        {value, std::min(value + values, p.value_dim)}, scratch.get(scratch_bytes));
  };
  pool.parallel_for(tasks, 3 * p.tokens * p.value_heads * p.value_dim * p.key_dim < kSmallChunk, run);
}

namespace {

// run(row, heads, scratch) for all rows; a task is some heads of a row, of about kSmallUpdate / 2 bytes.
template <class Run>
void for_heads(const GdnUpdateParams& p, ThreadPool& pool, Run run) {
  const int64_t head_bytes =
      std::max<int64_t>(1, p.value_dim * p.key_dim * static_cast<int64_t>(size_of(p.state_dtype)));
  const int64_t heads = std::clamp<int64_t>(kSmallUpdate / 2 / head_bytes, 1, p.value_heads);
  const int64_t blocks = ceil_div(p.value_heads, heads);
  const bool small = p.rows * p.value_heads * head_bytes < kSmallUpdate;
  pool.parallel_for(p.rows * blocks, small, [&](int64_t task, Scratch& scratch) {
    const int64_t first = task % blocks * heads;
    run(task / blocks, Range{first, std::min(first + heads, p.value_heads)}, scratch);
  });
}

}  // namespace

void run_gdn_update(const GdnUpdateParams& p, ThreadPool& pool) {
  for_heads(p, pool, [&](int64_t row, Range heads, Scratch& scratch) {
    kernels().gdn_update(p, row, heads, scratch.get(gdn_update_scratch_bytes(p)));
  });
}

void run_gdn_replay(const GdnReplayParams& p, ThreadPool& pool) {
  for_heads(p, pool, [&](int64_t row, Range heads, Scratch& scratch) {
    kernels().gdn_replay(p, row, heads, scratch.get(gdn_replay_scratch_bytes(p)));
  });
}

}  // namespace mamba::cpu
