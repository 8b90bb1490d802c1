#pragma once
// Attention on the CPU: what a task is, and its scratch memory.
#include <cstddef>
#include <cstdint>

#include "ops/attention.h"

namespace mamba::cpu {

class ThreadPool;

inline constexpr int64_t kAttentionRows = 64;  // queries of a task at most
// Keys of a step. They begin at multiples of it, wherever the queries begin: the cut of a prompt changes no sum.
inline constexpr int64_t kAttentionKeys = 64;

// Queries of one sequence that share a KV head: row r is query head r % group of the head's, of token r / group.
struct AttentionRows {
  int64_t first_row, rows;  // kAttentionRows at most
  int64_t group;            // query heads of a KV head
  const void* q;            // of row 0
  int64_t q_stride;         // from one token to the next
  void* out;                // of row 0
  int64_t out_stride;
  int64_t first_position;  // of row 0's token
  int64_t kv_len, kv_head;
  const int32_t* block_table;  // of the sequence
  int64_t max_pages;
  float scale;
  int64_t window;
  const KvPages* pages;
  DType dtype;
};

// Where the tiles of a task lie in its scratch, in floats.
struct AttentionLayout {
  int64_t columns;  // head_dim, padded to 32
  int64_t q;        // [kAttentionRows][head_dim]
  int64_t k;        // [head_dim][kAttentionKeys]
  int64_t v;        // [kAttentionKeys][columns]
  int64_t scores;   // [kAttentionRows][kAttentionKeys]
  int64_t sums;     // [kAttentionRows][columns]
  int64_t floats;
};

// Static: kernels of several instruction sets include this, and each must get its own copy (see simd/README.md).
static inline AttentionLayout attention_layout(int64_t head_dim) {
  AttentionLayout at = {};
  at.columns = (head_dim + 31) / 32 * 32;
  at.q = 0;
  at.k = at.q + kAttentionRows * head_dim;
  at.v = at.k + head_dim * kAttentionKeys;
  at.scores = at.v + kAttentionKeys * at.columns;
  at.sums = at.scores + kAttentionRows * kAttentionKeys;
  at.floats = at.sums + kAttentionRows * at.columns;
  return at;
}

void run_rope_store_kv(const RopeStoreKvParams& params, ThreadPool& pool);
void run_attention_varlen(const AttentionVarlenParams& params, ThreadPool& pool);
void run_paged_attention(const PagedAttentionParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
