#pragma once
// A batch over a paged KV cache with random contents, and its reference in float64.
#include <array>
#include <memory>
#include <numeric>

#include "cuda/attention.cuh"
#include "cuda/kernels.h"
#include "lab/context.cuh"
#include "lab/lab.cuh"

namespace lab {

using mamba::DType;
using mamba::KvPages;
using mamba::cuda::Context;
using mamba::cuda::attention::Job;

struct AttentionCase {
  std::vector<std::pair<int, int>> rows;  // tokens of the step, tokens in the pages
  int heads = 32, kv_heads = 8, head_dim = 128, page_size = 64;
  DType dtype = DType::bf16;
  bool codes = false;
  int window = 0;
  float scale = 0;  // 0: 1 / sqrt(head_dim)
  int q_pad = 0, page_pad = 0;
  int split = 0;  // tokens of an item of paged_attention
  int tile = 128;
  bool timed = false;  // K and V are filled on the device, and there is no reference
};

inline float code_value(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const float value = exponent ? std::ldexp(static_cast<float>(8 + mantissa), exponent - 10)
                               : std::ldexp(static_cast<float>(mantissa), -9);
  return code & 128 ? -value : value;
}

struct AttentionProblem {
  AttentionCase c;
  int tokens = 0, max_pages = 1, items = 0;
  std::vector<int32_t> starts{0}, kv_lens, table, tile_seq, tile_offset, split_items, split_start{0};
  Host q, k, v;
  Buffer q_on, k_on, v_on, out_on;
  std::unique_ptr<Buffer> starts_on, kv_lens_on, table_on, tile_seq_on, tile_offset_on, items_on, split_start_on;
  std::unique_ptr<Buffer> partial_out, partial_lse;
  float k_scale = 1, v_scale = 1;
  int pages = 0;

  int64_t q_stride() const { return int64_t{c.heads} * c.head_dim + c.q_pad; }
  int64_t page_elements() const { return int64_t{c.kv_heads} * c.page_size * c.head_dim; }
  int64_t page_stride() const { return page_elements() + c.page_pad; }
  DType page_type() const { return c.codes ? DType::u8 : c.dtype; }

  static int tokens_of(const AttentionCase& c) {
    return std::accumulate(c.rows.begin(), c.rows.end(), 0, [](int sum, const auto& row) { return sum + row.first; });
  }
  static int pages_of(const AttentionCase& c) {
    return std::accumulate(c.rows.begin(), c.rows.end(), 2, [&](int sum, const auto& row) {
      return sum + (row.second + c.page_size - 1) / c.page_size;
    });
  }
  static int64_t stride_of(const AttentionCase& c) { return int64_t{c.heads} * c.head_dim + c.q_pad; }
  static int64_t pool_of(const AttentionCase& c) {
    return pages_of(c) * (int64_t{c.kv_heads} * c.page_size * c.head_dim + c.page_pad);
  }

  // What no token fills is NaN: the rest of a sequence's last page, and two pages.
  AttentionProblem(const AttentionCase& of, Random& random)
      : c(of),
        tokens(tokens_of(of)),
        q(of.dtype, std::max<int64_t>(1, tokens * stride_of(of))),
        k(of.codes ? DType::u8 : of.dtype, of.timed ? 0 : pool_of(of)),
        v(of.codes ? DType::u8 : of.dtype, of.timed ? 0 : pool_of(of)),
        q_on(q.bytes.size()),
        k_on(static_cast<size_t>(pool_of(of)) * mamba::size_of(of.codes ? DType::u8 : of.dtype)),
        v_on(k_on.bytes),
        out_on(q.bytes.size()),
        pages(pages_of(of)) {
    if (c.scale == 0) c.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
    if (c.codes) k_scale = 0.02f, v_scale = 0.01f;
    std::vector<int> free(static_cast<size_t>(pages));
    std::iota(free.begin(), free.end(), 0);
    for (size_t i = free.size() - 1; i > 0; --i)
      std::swap(free[i], free[static_cast<size_t>(random.below(static_cast<int64_t>(i) + 1))]);
    for (const auto& [query_len, kv_len] : c.rows) {
      starts.push_back(starts.back() + query_len);
      kv_lens.push_back(kv_len);
      max_pages = std::max(max_pages, (kv_len + c.page_size - 1) / c.page_size + 1);
    }
    table.assign(c.rows.size() * static_cast<size_t>(max_pages), -1);
    memset(q.bytes.data(), 0xff, q.bytes.size());
    memset(k.bytes.data(), 0xff, k.bytes.size());
    memset(v.bytes.data(), 0xff, v.bytes.size());
    // Numbers from a list: drawing each would take minutes.
    Host list(c.dtype, 1 << 16);
    list.fill_normal(random);
    uint64_t state = random.state++;
    const auto draw = [&](Host& to, int64_t at) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      const auto bits = static_cast<uint32_t>(state >> 40);
      if (to.dtype == DType::u8) {
        to.bytes[static_cast<size_t>(at)] = static_cast<uint8_t>((bits & 0x80) | (0x20 + bits % 0x38));
      } else {
        memcpy(to.bytes.data() + static_cast<size_t>(at) * mamba::size_of(to.dtype),
               list.bytes.data() + bits % (1 << 16) * mamba::size_of(to.dtype), mamba::size_of(to.dtype));
      }
    };
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < int64_t{c.heads} * c.head_dim; ++i) draw(q, t * q_stride() + i);
    }
    for (size_t row = 0; row < c.rows.size(); ++row) {
      for (int t = 0; t < kv_lens[row]; ++t) {
        int32_t& page = table[row * static_cast<size_t>(max_pages) + static_cast<size_t>(t / c.page_size)];
        if (page < 0) page = free.back(), free.pop_back();
        for (int h = 0; h < c.kv_heads && !c.timed; ++h) {
          const int64_t at = page * page_stride() + (int64_t{h} * c.page_size + t % c.page_size) * c.head_dim;
          for (int i = 0; i < c.head_dim; ++i) draw(k, at + i), draw(v, at + i);
        }
      }
    }
    // Longest contexts first: tiles by where they end.
    std::vector<std::array<int, 3>> tiles;
    for (size_t row = 0; row < c.rows.size(); ++row) {
      const auto [query_len, kv_len] = c.rows[row];
      for (int i = 0; i * c.tile < query_len; ++i) {
        tiles.push_back({-(kv_len - query_len + std::min(query_len, (i + 1) * c.tile)), static_cast<int>(row), i});
      }
      if (c.split > 0) {
        for (int begin = 0; begin < kv_len; begin += c.split) {
          split_items.insert(split_items.end(), {static_cast<int32_t>(row), begin, std::min(kv_len, begin + c.split)});
        }
      }
      split_start.push_back(static_cast<int32_t>(split_items.size() / 3));
    }
    std::sort(tiles.begin(), tiles.end());
    for (const auto& t : tiles) tile_seq.push_back(t[1]), tile_offset.push_back(t[2]);
    items = split_start.back() + 3;
    split_items.resize(static_cast<size_t>(items) * 3, -1);
    const auto place = [](const std::vector<int32_t>& values) { return std::make_unique<Buffer>(values); };
    starts_on = place(starts), kv_lens_on = place(kv_lens), table_on = place(table), tile_seq_on = place(tile_seq);
    tile_offset_on = place(tile_offset), items_on = place(split_items), split_start_on = place(split_start);
    if (c.split > 0) {
      const size_t rows = static_cast<size_t>(items) * static_cast<size_t>(c.rows[0].first * c.heads);
      partial_out = std::make_unique<Buffer>(rows * static_cast<size_t>(c.head_dim) * 4);
      partial_lse = std::make_unique<Buffer>(rows * 4);
      partial_out->poison(), partial_lse->poison();
    }
    q_on.upload(q);
    if (c.timed) {
      fill_random_kernel<<<1056, 256>>>(k_on.as<__nv_bfloat16>(), static_cast<int64_t>(k_on.bytes / 2), 1);
      fill_random_kernel<<<1056, 256>>>(v_on.as<__nv_bfloat16>(), static_cast<int64_t>(v_on.bytes / 2), 2);
    } else {
      k_on.upload(k), v_on.upload(v);
    }
    out_on.poison();
  }

  KvPages kv_pages() const {
    return {.pages = pages,
            .kv_heads = c.kv_heads,
            .page_size = c.page_size,
            .head_dim = c.head_dim,
            .k = k_on.data,
            .v = v_on.data,
            .k_page_stride = page_stride(),
            .v_page_stride = page_stride(),
            .k_scale = k_scale,
            .v_scale = v_scale,
            .dtype = page_type()};
  }
  mamba::AttentionContext context() const {
    return {table_on->as<int32_t>(), max_pages, kv_lens_on->as<int32_t>(), c.scale, c.window};
  }
  mamba::AttentionVarlenParams varlen() const {
    return {.tokens = tokens,
            .rows = static_cast<int64_t>(c.rows.size()),
            .tiles = static_cast<int64_t>(tile_seq.size()),
            .heads = c.heads,
            .q = q_on.data,
            .q_stride = q_stride(),
            .out = out_on.data,
            .out_stride = q_stride(),
            .query_start_loc = starts_on->as<int32_t>(),
            .tile_seq = tile_seq_on->as<int32_t>(),
            .tile_offset = tile_offset_on->as<int32_t>(),
            .context = context(),
            .pages = kv_pages(),
            .dtype = c.dtype};
  }
  mamba::PagedAttentionParams paged() const {
    return {.rows = static_cast<int64_t>(c.rows.size()),
            .query_len = c.rows[0].first,
            .heads = c.heads,
            .items = items,
            .q = q_on.data,
            .q_stride = q_stride(),
            .out = out_on.data,
            .out_stride = q_stride(),
            .split_items = items_on->as<int32_t>(),
            .split_start = split_start_on->as<int32_t>(),
            .partial_out = partial_out->as<float>(),
            .partial_lse = partial_lse->as<float>(),
            .context = context(),
            .pages = kv_pages(),
            .dtype = c.dtype};
  }

  double page_value(const Host& from, int64_t at, float scale) const {
    return c.codes ? static_cast<double>(code_value(from.bytes[static_cast<size_t>(at)])) * scale : from.get(at);
  }

  // Some heads of some tokens against the reference, and that nothing beside a row of out was written.
  Errors compare(Random& random, int samples) const {
    const Host out = out_on.download(c.dtype);
    Errors errors;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = int64_t{c.heads} * c.head_dim; i < q_stride(); ++i) {
        if (!std::isnan(out.get(t * q_stride() + i))) ++errors.bad;
      }
    }
    for (int sample = 0; sample < samples && tokens > 0; ++sample) {
      // The last token of a row now and then, and the first.
      int64_t t = random.below(tokens);
      if (sample % 4 == 1) t = starts[static_cast<size_t>(random.below(static_cast<int64_t>(c.rows.size()))) + 1] - 1;
      if (sample == 0) t = 0;
      if (t < 0) continue;
      const auto row = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), static_cast<int32_t>(t)) -
                                           starts.begin() - 1);
      const int64_t head = random.below(c.heads), kv_head = head / (c.heads / c.kv_heads);
      const int position = kv_lens[row] - c.rows[row].first + static_cast<int>(t - starts[row]);
      const int first = c.window > 0 ? std::max(0, position - c.window + 1) : 0;
      const auto place = [&](int key) {
        const int64_t page = table[row * static_cast<size_t>(max_pages) + static_cast<size_t>(key / c.page_size)];
        return page * page_stride() + (kv_head * c.page_size + key % c.page_size) * c.head_dim;
      };
      std::vector<double> scores, sums(static_cast<size_t>(c.head_dim));
      double largest = -INFINITY, total = 0;
      for (int key = first; key <= position; ++key) {
        double score = 0;
        for (int i = 0; i < c.head_dim; ++i) {
          score += q.get(t * q_stride() + head * c.head_dim + i) * page_value(k, place(key) + i, k_scale);
        }
        scores.push_back(score * c.scale);
        largest = std::max(largest, scores.back());
      }
      double squares = 0;
      for (int key = first; key <= position; ++key) {
        const double weight = std::exp(scores[static_cast<size_t>(key - first)] - largest);
        total += weight;
        for (int i = 0; i < c.head_dim; ++i) {
          const double term = weight * page_value(v, place(key) + i, v_scale);
          sums[static_cast<size_t>(i)] += term;
          squares += term * term;
        }
      }
      // Weights of 16 bits are off by half a unit each, which adds up as the terms do.
      const double norm = total > 0 ? std::sqrt(squares / c.head_dim) / total : 0;
      for (int i = 0; i < c.head_dim; ++i) {
        errors.add(out.get(t * q_stride() + head * c.head_dim + i),
                   total > 0 ? sums[static_cast<size_t>(i)] / total : 0,
                   (c.dtype == DType::f32 ? 1e-5 : 4 * rounding(c.dtype)) * norm + 1e-6, 2 * rounding(c.dtype));
      }
    }
    return errors;
  }
};

}  // namespace lab
