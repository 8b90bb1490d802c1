#pragma once
#include "core/dtype.h"
#include "ops/pool.h"

namespace mamba {

inline constexpr int64_t kMinPageSize = 16, kMaxPageSize = 256;  // tokens; a power of two
inline constexpr int64_t kMaxHeadDim = 256;                      // a multiple of 8
inline constexpr int64_t kMaxQueryLen = 8;                       // tokens of a row of paged_attention

// Query tokens of a tile of attention_varlen: what fills a block with three groups of four warps, or with two.
inline constexpr int64_t attention_tile(int64_t head_dim) { return head_dim <= 96 ? 192 : 128; }

// The KV cache of one layer. A token is at slot page * page_size + offset; a sequence's pages are listed in its row of
// a block table. What a page outside of the pool would hold reads as zeros and is stored nowhere.
struct KvPages {
  int64_t pages, kv_heads, page_size, head_dim;
  void *k, *v;                           // [pages, kv_heads, page_size, head_dim], a page is contiguous
  int64_t k_page_stride, v_page_stride;  // elements
  float k_scale, v_scale;                // value = code * scale; 1 but for e4m3
  DType dtype;                           // the activations', or u8: e4m3 codes

  Pool k_pool() const { return pool(k, k_page_stride); }
  Pool v_pool() const { return pool(v, v_page_stride); }

 private:
  Pool pool(const void* data, int64_t page_stride) const {
    return {data, static_cast<size_t>(pages * page_stride) * size_of(dtype)};
  }
};

// A sequence's tokens, and what of them a query attends to.
struct AttentionContext {
  const int32_t* block_table;  // [rows, max_pages]
  int64_t max_pages;
  const int32_t* kv_lens;  // [rows]: tokens in the pages, those of this step included
  float scale;             // of q k
  int64_t window;          // a query at position p attends to (p - window, p]; 0: to [0, p]
};

struct RopeStoreKvParams {
  int64_t tokens, heads, rotary_dim;
  void* q;            // [tokens, heads, head_dim], row stride q_stride; rotated in place
  const void *k, *v;  // [tokens, kv_heads, head_dim]
  int64_t q_stride, k_stride, v_stride;
  const int32_t* positions;      // [tokens]
  const int32_t* slot_mapping;   // [tokens]; -1 = padding: stored nowhere
  const float* inv_freq;         // [rotary_dim / 2] or null (then rotary_dim is 0)
  float rope_factor;             // of cosines and sines
  const float *q_norm, *k_norm;  // [head_dim] or null: weights of a norm of each head before the rotation
  float norm_eps;
  KvPages pages;
  DType dtype;  // of q, k and v

  Pool k_pages_pool() const { return pages.k_pool(); }
  Pool v_pages_pool() const { return pages.v_pool(); }
};

struct AttentionVarlenParams {
  int64_t tokens, rows, tiles, heads;
  const void* q;  // [tokens, heads, head_dim], row stride q_stride
  int64_t q_stride;
  void* out;  // [tokens, heads, head_dim], row stride out_stride; not q
  int64_t out_stride;
  const int32_t* query_start_loc;  // [rows + 1]
  const int32_t* tile_seq;         // [tiles]: the row of each tile of attention_tile(head_dim) tokens; -1 = no tile
  const int32_t* tile_offset;      // [tiles]: which tile of its row it is
  AttentionContext context;
  KvPages pages;
  DType dtype;  // of q and out
};

struct PagedAttentionParams {
  int64_t rows, query_len, heads, items;
  const void* q;  // [rows * query_len, heads, head_dim], row stride q_stride
  int64_t q_stride;
  void* out;  // [rows * query_len, heads, head_dim], row stride out_stride; not q
  int64_t out_stride;
  const int32_t* split_items;  // [items, 3]: row (-1 = no item), first position, position after the last
  const int32_t* split_start;  // [rows + 1]: the items of row r are [split_start[r], split_start[r + 1])
  float* partial_out;          // [items, query_len * heads, head_dim]
  float* partial_lse;          // [items, query_len * heads]: log2 of the sum of exponentials
  AttentionContext context;
  KvPages pages;
  DType dtype;  // of q and out
};

}  // namespace mamba
