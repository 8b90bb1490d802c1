#include "ops/attention.h"

#include <cmath>

#include "core/check.h"
#include "ops/backend.h"
#include "ops/sequences.h"

namespace mamba {
namespace {

// [tokens, heads, head_dim] whose rows may be slices of wider ones.
void check_heads(Checker& check, const Tensor& t, const char* name, const char* heads) {
  check.shape(t, name, {"tokens", heads, "head_dim"}).last_contiguous(t, name);
  if (t.size(1) > 1 && t.stride(1) != t.size(2))
    check.refuse(std::string(name) + " has stride " + std::to_string(t.stride(1)) + " between heads, expected " +
                 std::to_string(t.size(2)) + " (head_dim)");
}

void check_scale(Checker& check, double scale, const char* name) {
  if (!(std::isfinite(scale) && scale > 0))
    check.refuse(std::string(name) + " is " + std::to_string(scale) + ", expected a finite number > 0");
}

void check_pool(Checker& check, const Tensor& t, const char* name, const Tensor& q) {
  check.shape(t, name, {"pages", "kv_heads", "page_size", "head_dim"}).dtype(t, name, {q.dtype, DType::u8});
  check.inner_contiguous(t, name);
}

KvPages check_pages(Checker& check, const Tensor& k_pages, const Tensor& v_pages, const Tensor& q, double k_scale,
                    double v_scale) {
  check_pool(check, k_pages, "k_pages", q);
  check_pool(check, v_pages, "v_pages", q);
  check.same_dtype(v_pages, "v_pages", k_pages, "k_pages");
  const int64_t page_size = check.size("page_size"), head_dim = check.size("head_dim");
  if (page_size < kMinPageSize || page_size > kMaxPageSize || (page_size & (page_size - 1)) != 0)
    check.refuse("k_pages has pages of " + std::to_string(page_size) +
                 " tokens, expected a power of two from 16 to 256");
  if (head_dim == 0 || head_dim % 8 != 0 || head_dim > kMaxHeadDim)
    check.refuse("head_dim is " + std::to_string(head_dim) + ", expected a multiple of 8 up to 256");
  check_scale(check, k_scale, "k_scale");
  check_scale(check, v_scale, "v_scale");
  const bool codes = k_pages.dtype == DType::u8;
  if (!codes && (k_scale != 1 || v_scale != 1))
    check.refuse("k_scale and v_scale are " + std::to_string(k_scale) + " and " + std::to_string(v_scale) +
                 ", expected 1 for pages that are not e4m3 (u8)");
  return {
      .pages = check.size("pages"),
      .kv_heads = check.size("kv_heads"),
      .page_size = page_size,
      .head_dim = head_dim,
      .k = k_pages.data,
      .v = v_pages.data,
      .k_page_stride = k_pages.stride(0),
      .v_page_stride = v_pages.stride(0),
      .k_scale = static_cast<float>(k_scale),
      .v_scale = static_cast<float>(v_scale),
      .dtype = k_pages.dtype,
  };
}

void check_queries(Checker& check, const Tensor& out, const Tensor& q) {
  check_heads(check, q, "q", "heads");
  check.dtype(q, "q", kFloatTypes);
  check_heads(check, out, "out", "heads");
  check.same_dtype(out, "out", q, "q");
  check.apart(out, q, "q", "a tile reads queries that another one overwrites");
}

void check_group(Checker& check) {
  const int64_t heads = check.size("heads"), kv_heads = check.size("kv_heads");
  if (kv_heads == 0 || heads % kv_heads != 0)
    check.refuse("kv_heads = " + std::to_string(kv_heads) + " does not divide heads = " + std::to_string(heads));
}

AttentionContext check_context(Checker& check, const Tensor& block_table, const Tensor& kv_lens, double scale,
                               int64_t window) {
  check.dense(kv_lens, "kv_lens", {"rows"}, DType::i32);
  check.dense(block_table, "block_table", {"rows", "max_pages"}, DType::i32);
  if (!std::isfinite(scale)) check.refuse("scale is " + std::to_string(scale) + ", expected a finite number");
  if (window < 0)
    check.refuse("window is " + std::to_string(window) + ", expected a number of tokens, or 0 for no window");
  return {
      .block_table = block_table.as<int32_t>(),
      .max_pages = check.size("max_pages"),
      .kv_lens = kv_lens.as<int32_t>(),
      .scale = static_cast<float>(scale),
      .window = window,
  };
}

}  // namespace

void rope_store_kv(Stream& stream, Tensor q, Tensor k, Tensor v, Tensor positions, Tensor slot_mapping,
                   std::optional<Tensor> inv_freq, double rope_factor, std::optional<Tensor> q_norm,
                   std::optional<Tensor> k_norm, double norm_eps, Tensor k_pages, Tensor v_pages, double k_scale,
                   double v_scale) {
  Checker check("rope_store_kv", stream.device());
  check_heads(check, q, "q", "heads");
  check.dtype(q, "q", kFloatTypes);
  check_heads(check, k, "k", "kv_heads");
  check.same_dtype(k, "k", q, "q");
  check_heads(check, v, "v", "kv_heads");
  check.same_dtype(v, "v", q, "q");
  check.dense(positions, "positions", {"tokens"}, DType::i32);
  check.dense(slot_mapping, "slot_mapping", {"tokens"}, DType::i32);
  int64_t rotary_dim = 0;
  if (inv_freq) {
    check.dense(*inv_freq, "inv_freq", {"rotary_dim / 2"}, DType::f32);
    rotary_dim = 2 * check.size("rotary_dim / 2");
    if (rotary_dim > check.size("head_dim"))
      check.refuse("inv_freq is " + inv_freq->shape_text() +
                   ", expected half of head_dim = " + std::to_string(check.size("head_dim")) + " at most");
  }
  check_scale(check, rope_factor, "rope_factor");
  for (auto [norm, name] : {std::pair{&q_norm, "q_norm"}, {&k_norm, "k_norm"}}) {
    if (*norm) check.dense(**norm, name, {"head_dim"}, DType::f32);
  }
  check.eps(norm_eps, "norm_eps");
  const KvPages pages = check_pages(check, k_pages, v_pages, q, k_scale, v_scale);
  check_group(check);
  if (check.size("tokens") == 0) return;
  backend_of(stream).rope_store_kv(stream, {
                                               .tokens = check.size("tokens"),
                                               .heads = check.size("heads"),
                                               .rotary_dim = rotary_dim,
                                               .q = q.data,
                                               .k = k.data,
                                               .v = v.data,
                                               .q_stride = q.stride(0),
                                               .k_stride = k.stride(0),
                                               .v_stride = v.stride(0),
                                               .positions = positions.as<int32_t>(),
                                               .slot_mapping = slot_mapping.as<int32_t>(),
                                               .inv_freq = inv_freq ? inv_freq->as<float>() : nullptr,
                                               .rope_factor = static_cast<float>(rope_factor),
                                               .q_norm = q_norm ? q_norm->as<float>() : nullptr,
                                               .k_norm = k_norm ? k_norm->as<float>() : nullptr,
                                               .norm_eps = static_cast<float>(norm_eps),
                                               .pages = pages,
                                               .dtype = q.dtype,
                                           });
}

void attention_varlen(Stream& stream, Tensor out, Tensor q, Tensor k_pages, Tensor v_pages, Tensor block_table,
                      Tensor query_start_loc, Tensor kv_lens, Tensor tile_seq, Tensor tile_offset, double scale,
                      int64_t window, double k_scale, double v_scale) {
  Checker check("attention_varlen", stream.device());
  check_queries(check, out, q);
  const KvPages pages = check_pages(check, k_pages, v_pages, q, k_scale, v_scale);
  check_group(check);
  const AttentionContext context = check_context(check, block_table, kv_lens, scale, window);
  check_starts(check, query_start_loc, "query_start_loc", "rows + 1", "rows", "kv_lens");
  check.dense(tile_seq, "tile_seq", {"tiles"}, DType::i32);
  check.dense(tile_offset, "tile_offset", {"tiles"}, DType::i32);
  if (out.elements() == 0 || check.size("tiles") == 0) return;
  backend_of(stream).attention_varlen(stream, {
                                                  .tokens = check.size("tokens"),
                                                  .rows = check.size("rows"),
                                                  .tiles = check.size("tiles"),
                                                  .heads = check.size("heads"),
                                                  .q = q.data,
                                                  .q_stride = q.stride(0),
                                                  .out = out.data,
                                                  .out_stride = out.stride(0),
                                                  .query_start_loc = query_start_loc.as<int32_t>(),
                                                  .tile_seq = tile_seq.as<int32_t>(),
                                                  .tile_offset = tile_offset.as<int32_t>(),
                                                  .context = context,
                                                  .pages = pages,
                                                  .dtype = q.dtype,
                                              });
}

void paged_attention(Stream& stream, Tensor out, Tensor q, Tensor k_pages, Tensor v_pages, Tensor block_table,
                     Tensor kv_lens, Tensor split_items, Tensor split_start, Tensor partial_out, Tensor partial_lse,
                     double scale, int64_t window, double k_scale, double v_scale) {
  Checker check("paged_attention", stream.device());
  check_queries(check, out, q);
  const KvPages pages = check_pages(check, k_pages, v_pages, q, k_scale, v_scale);
  check_group(check);
  const AttentionContext context = check_context(check, block_table, kv_lens, scale, window);
  const int64_t rows = check.size("rows"), tokens = check.size("tokens");
  const int64_t query_len = rows > 0 ? tokens / rows : 0;
  if (rows > 0 ? query_len * rows != tokens || query_len < 1 || query_len > kMaxQueryLen : tokens > 0)
    check.refuse("q is " + q.shape_text() + ", expected 1 to " + std::to_string(kMaxQueryLen) + " tokens for each of " +
                 std::to_string(rows) + " rows");
  check.dense(split_items, "split_items", {"items", "3"}, DType::i32);
  check_starts(check, split_start, "split_start", "rows + 1", "rows", "kv_lens");
  check.dense(partial_out, "partial_out", {"items", "query_len * heads", "head_dim"}, DType::f32);
  check.dense(partial_lse, "partial_lse", {"items", "query_len * heads"}, DType::f32);
  if (rows > 0 && check.size("query_len * heads") != query_len * check.size("heads"))
    check.refuse("partial_out is " + partial_out.shape_text() + ", expected [items, " +
                 std::to_string(query_len * check.size("heads")) + ", head_dim]");
  if (out.elements() == 0) return;
  backend_of(stream).paged_attention(stream, {
                                                 .rows = rows,
                                                 .query_len = query_len,
                                                 .heads = check.size("heads"),
                                                 .items = check.size("items"),
                                                 .q = q.data,
                                                 .q_stride = q.stride(0),
                                                 .out = out.data,
                                                 .out_stride = out.stride(0),
                                                 .split_items = split_items.as<int32_t>(),
                                                 .split_start = split_start.as<int32_t>(),
                                                 .partial_out = partial_out.as<float>(),
                                                 .partial_lse = partial_lse.as<float>(),
                                                 .context = context,
                                                 .pages = pages,
                                                 .dtype = q.dtype,
                                             });
}

}  // namespace mamba
