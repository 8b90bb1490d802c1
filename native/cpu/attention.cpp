#include "cpu/attention.h"

#include <algorithm>
#include <cmath>

#include "cpu/cut.h"
#include "cpu/metadata.h"

namespace mamba::cpu {
namespace {

// Multiply-adds that take about 10 us: fewer are not worth a fork.
constexpr int64_t kSmallAttention = 1 << 18;

// No row has more tokens than its pages could hold, or a kernel would look for them for minutes.
template <class Params>
void check_context(const char* op, const Params& p) {
  check_indices(op, "kv_lens", p.context.kv_lens, p.rows, 0, p.context.max_pages * p.pages.page_size + 1);
}

// The queries [first_row, last_row) of a sequence and KV head, some at a time.
template <class Params>
AttentionRows queries_of(const Params& p, int64_t sequence, int64_t first_token, int64_t query_len, int64_t kv_head) {
  const int64_t group = p.heads / p.pages.kv_heads, kv_len = p.context.kv_lens[sequence];
  const int64_t offset = kv_head * group * p.pages.head_dim;
  const auto at = [&](const void* base, int64_t stride) {
    return static_cast<char*>(const_cast<void*>(base)) +
           (first_token * stride + offset) * static_cast<int64_t>(size_of(p.dtype));
  };
  return {
      .first_row = 0,
      .rows = 0,
      .group = group,
      .q = at(p.q, p.q_stride),
      .q_stride = p.q_stride,
      .out = at(p.out, p.out_stride),
      .out_stride = p.out_stride,
      .first_position = kv_len - query_len,
      .kv_len = kv_len,
      .kv_head = kv_head,
      .block_table = p.context.block_table + sequence * p.context.max_pages,
      .max_pages = p.context.max_pages,
      .scale = p.context.scale,
      .window = p.context.window,
      .pages = &p.pages,
      .dtype = p.dtype,
  };
}

template <class Params>
void attend(const Params& p, AttentionRows rows, int64_t begin, int64_t end, Scratch& scratch) {
  void* memory = scratch.get(static_cast<size_t>(attention_layout(p.pages.head_dim).floats) * sizeof(float));
  for (int64_t row = begin; row < end; row += kAttentionRows) {
    rows.first_row = row;
    rows.rows = std::min(kAttentionRows, end - row);
    kernels().attention(rows, memory);
  }
}

}  // namespace

// A task is a token, or several if they are short. The functions of the C library reduce any angle exactly.
void run_rope_store_kv(const RopeStoreKvParams& p, ThreadPool& pool) {
  const int64_t half = p.rotary_dim / 2, width = (p.heads + 2 * p.pages.kv_heads) * p.pages.head_dim;
  const int64_t tokens = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, width));
  pool.parallel_for(ceil_div(p.tokens, tokens), [&](int64_t task, Scratch& scratch) {
    auto* cosines = static_cast<float*>(scratch.get(static_cast<size_t>(p.rotary_dim) * sizeof(float)));
    float* sines = cosines + half;
    for (int64_t token = task * tokens; token < std::min(p.tokens, (task + 1) * tokens); ++token) {
      for (int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(p.positions[token]) * p.inv_freq[i];
        cosines[i] = std::cos(angle) * p.rope_factor;
        sines[i] = std::sin(angle) * p.rope_factor;
      }
      kernels().rope_store_kv(p, token, cosines, sines);
    }
  });
}

// A task is kAttentionRows queries of one tile and KV head. The last ones attend to the most keys, so they come first.
void run_attention_varlen(const AttentionVarlenParams& p, ThreadPool& pool) {
  constexpr const char* kOp = "attention_varlen";
  check_starts(kOp, "query_start_loc", p.query_start_loc, p.rows, p.tokens);
  check_indices(kOp, "tile_offset", p.tile_offset, p.tiles, 0, p.tokens);
  check_context(kOp, p);
  const int64_t group = p.heads / p.pages.kv_heads, tile_rows = attention_tile(p.pages.head_dim) * group;
  const int64_t per_head = ceil_div(tile_rows, kAttentionRows);
  const int64_t per_tile = p.pages.kv_heads * per_head, tasks = p.tiles * per_tile;
  const int64_t work = 2 * p.tokens * p.heads * p.pages.head_dim;  // for each key
  const bool small = work * kAttentionKeys < kSmallAttention;
  pool.parallel_for(tasks, small, [&](int64_t task, Scratch& scratch) {
    const int64_t tile = p.tiles - 1 - task / per_tile, sequence = p.tile_seq[tile];
    if (sequence < 0 || sequence >= p.rows) return;
    const int64_t first = p.query_start_loc[sequence], query_len = p.query_start_loc[sequence + 1] - first;
    const int64_t row = p.tile_offset[tile] * tile_rows + task % per_head * kAttentionRows;
    const int64_t end = std::min({row + kAttentionRows, (p.tile_offset[tile] + 1) * tile_rows, query_len * group});
    attend(p, queries_of(p, sequence, first, query_len, task % per_tile / per_head), row, end, scratch);
  });
}

// A task is all queries of one row and KV head, over all keys: splits would change a token's bits.
void run_paged_attention(const PagedAttentionParams& p, ThreadPool& pool) {
  check_context("paged_attention", p);
  const int64_t group = p.heads / p.pages.kv_heads;
  const int64_t work = 2 * p.rows * p.query_len * p.heads * p.pages.head_dim;
  const bool small = work * kAttentionKeys < kSmallAttention;
  pool.parallel_for(p.rows * p.pages.kv_heads, small, [&](int64_t task, Scratch& scratch) {
    const int64_t row = task / p.pages.kv_heads, head = task % p.pages.kv_heads;
    const AttentionRows rows = queries_of(p, row, row * p.query_len, p.query_len, head);
    attend(p, rows, 0, p.query_len * group, scratch);
  });
}

}  // namespace mamba::cpu
