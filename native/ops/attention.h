#pragma once
#include <optional>

#include "core/device.h"
#include "core/tensor.h"

namespace mamba {

inline constexpr int64_t kMinPageSize = 16, kMaxPageSize = 256;  // tokens; a power of two
inline constexpr int64_t kMaxHeadDim = 256;                      // a multiple of 8
inline constexpr int64_t kMaxQueryLen = 8;                       // tokens of a row of paged_attention
inline constexpr int64_t kAttentionTile = 128;                   // query tokens of a tile of attention_varlen

// The KV cache of one layer. A token is at slot page * page_size + offset; a sequence's pages are listed in its row of
// a block table. What a page outside of the pool would hold reads as zeros and is stored nowhere.
struct KvPages {
  int64_t pages, kv_heads, page_size, head_dim;
  void *k, *v;                           // [pages, kv_heads, page_size, head_dim], a page is contiguous
  int64_t k_page_stride, v_page_stride;  // elements
  float k_scale, v_scale;                // value = code * scale; 1 but for e4m3
  DType dtype;                           // the activations', or u8: e4m3 codes
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
  const int32_t* positions;     // [tokens]
  const int32_t* slot_mapping;  // [tokens]; -1 = padding: stored nowhere
  const float* inv_freq;        // [rotary_dim / 2] or null (then rotary_dim is 0)
  float rope_factor;            // of cosines and sines
  KvPages pages;
  DType dtype;  // of q, k and v
};

struct AttentionVarlenParams {
  int64_t tokens, rows, tiles, heads;
  const void* q;  // [tokens, heads, head_dim], row stride q_stride
  int64_t q_stride;
  void* out;  // [tokens, heads, head_dim], row stride out_stride; not q
  int64_t out_stride;
  const int32_t* query_start_loc;  // [rows + 1]
  const int32_t* tile_seq;         // [tiles]: the row of each tile of kAttentionTile tokens; -1 = no tile
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

// Rotary embedding (Su et al., RoFormer; halves, as GPT-NeoX) of the first rotary_dim channels of each head of q, in
// place, and of k on its way into the cache; v goes there as it is. Angles are float(position) * inv_freq; scaling
// types (linear, dynamic, yarn, llama3, longrope) are an inv_freq and a rope_factor. e4m3 pages take
// value / scale, rounded to nearest even, 448 at most.
void rope_store_kv(Stream& stream, Tensor q, Tensor k, Tensor v, Tensor positions, Tensor slot_mapping,
                   std::optional<Tensor> inv_freq, double rope_factor, Tensor k_pages, Tensor v_pages, double k_scale,
                   double v_scale);

// Causal attention of packed queries over the pages: query i of row r is at position kv_lens[r] - query_len + i. Query
// head h reads KV head h / (heads / kv_heads). Tiles come from the host: one entry for each kAttentionTile tokens of
// each row, longest contexts first for the best balance. Tokens of no tile are not written. Sums are in float and in an
// order that depends on positions only: a prompt in pieces has the bits of the whole.
void attention_varlen(Stream& stream, Tensor out, Tensor q, Tensor k_pages, Tensor v_pages, Tensor block_table,
                      Tensor query_start_loc, Tensor kv_lens, Tensor tile_seq, Tensor tile_offset, double scale,
                      int64_t window, double k_scale, double v_scale);

// The same for rows of equally many tokens (tokens / rows, 1 to 8), with the keys of a row cut into items, so that few
// rows fill a device (Dao et al., Flash-Decoding). src/engine/policy/attention-schedule.ts makes them. A row without
// items gets zeros. A backend may walk the keys in one piece instead (the CPU does) and leave the partial results
// alone.
void paged_attention(Stream& stream, Tensor out, Tensor q, Tensor k_pages, Tensor v_pages, Tensor block_table,
                     Tensor kv_lens, Tensor split_items, Tensor split_start, Tensor partial_out, Tensor partial_lse,
                     double scale, int64_t window, double k_scale, double v_scale);

}  // namespace mamba
