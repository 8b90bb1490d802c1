#include "cpu/gdn.h"

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/thread_pool.h"

namespace mamba::cpu {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// About 20 us of work on one core: less is not worth a fork.
constexpr int64_t kSmallUpdate = 256 << 10;  // bytes of state

}  // namespace

size_t gdn_chunk_scratch_bytes(const GdnChunkParams& p) {
  return static_cast<size_t>((2 + p.value_dim) * p.key_dim) * sizeof(float);
}

size_t gdn_update_scratch_bytes(const GdnUpdateParams& p) { return static_cast<size_t>(2 * p.key_dim) * sizeof(float); }

void run_gdn_chunk(const GdnChunkParams& p, ThreadPool& pool) {
  const size_t scratch_bytes = gdn_chunk_scratch_bytes(p);
  pool.parallel_for(p.sequences * p.value_heads, [&](int64_t task, Scratch& scratch) {
    kernels().gdn_chunk(p, task / p.value_heads, task % p.value_heads, {0, p.value_dim}, scratch.get(scratch_bytes));
  });
}

// A task is some heads of a row, of about kSmallUpdate / 2 bytes.
void run_gdn_update(const GdnUpdateParams& p, ThreadPool& pool) {
  const int64_t head_bytes =
      std::max<int64_t>(1, p.value_dim * p.key_dim * static_cast<int64_t>(size_of(p.state_dtype)));
  const int64_t heads = std::clamp<int64_t>(kSmallUpdate / 2 / head_bytes, 1, p.value_heads);
  const int64_t blocks = ceil_div(p.value_heads, heads);
  const size_t scratch_bytes = gdn_update_scratch_bytes(p);
  auto run = [&](int64_t task, Scratch& scratch) {
    const int64_t first = task % blocks * heads;
    kernels().gdn_update(p, task / blocks, {first, std::min(first + heads, p.value_heads)}, scratch.get(scratch_bytes));
  };
  if (p.rows * p.value_heads * head_bytes < kSmallUpdate) {
    pool.parallel_for(1, [&](int64_t, Scratch& scratch) {
      for (int64_t task = 0; task < p.rows * blocks; ++task) run(task, scratch);
    });
  } else {
    pool.parallel_for(p.rows * blocks, run);
  }
}

}  // namespace mamba::cpu
