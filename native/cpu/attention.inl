// attention: queries of one KV head against its pages, and rope_store_kv for one token.
//
// Idea. Softmax in one pass (Milakov and Gimelshein; Dao et al., FlashAttention): for each step of kAttentionKeys keys
// the scores of all rows, their new maxima, and sums of weighted values that are rescaled when a maximum grows.
//
// Mapping. K of a step is transposed into floats, so that keys lie across the lanes and a score is one chain of
// multiply-adds over the channels; V is widened, channels across the lanes, one chain over the keys. Both products go
// kRowTile rows by two registers at a time. Each element's chain is the same whatever rows lie beside it, and steps
// begin at multiples of kAttentionKeys: a query's bits depend on its own position and keys only.
//
// Bound. 2 head_dim multiply-adds for each query and key; transposing a step costs as much as a few rows.
#include "cpu/attention.h"
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace attn {

inline constexpr int kRowTile = 4;

// --- e4m3 ------------------------------------------------------------------------------------------------------------
// Sign, four bits of exponent (bias 7), three of mantissa; no infinities, and 0x7f is NaN.
struct E4m3Values {
  float of[256];
  constexpr E4m3Values() : of() {
    for (int code = 0; code < 256; ++code) {
      const int exponent = code >> 3 & 15, mantissa = code & 7;
      float value = static_cast<float>(exponent ? mantissa + 8 : mantissa) / 512;
      for (int i = 1; i < exponent; ++i) value *= 2;
      if ((code & 127) == 127) value = __builtin_nanf("");
      of[code] = code & 128 ? -value : value;
    }
  }
};
static constexpr E4m3Values kE4m3;

// Round to nearest even, 448 at most.
inline uint8_t to_e4m3(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  const uint32_t sign = u >> 24 & 0x80u;
  u &= 0x7fffffffu;
  if (u > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  if (u >= 0x43e00000u) return static_cast<uint8_t>(sign | 0x7eu);
  if (u < 0x3c800000u) {  // below 2^-6: the float adder rounds at the 2^-9 position
    float magnitude;
    __builtin_memcpy(&magnitude, &u, 4);
    magnitude += 0x1p14f;
    __builtin_memcpy(&u, &magnitude, 4);
    return static_cast<uint8_t>(sign | (u - 0x46800000u));
  }
  return static_cast<uint8_t>(sign | ((u + 0x7ffffu + (u >> 20 & 1u) - 0x3c000000u) >> 20));
}

// --- elements of the pages as floats ---------------------------------------------------------------------------------
template <class Count, class T>
inline F32 load_elements(const T* p, Count n) {
  return load_n(p, n);
}
template <class Count>
inline F32 load_elements(const uint8_t* p, Count n) {
  float values[F32::lanes] = {};
  for (int i = 0; i < n; ++i) values[i] = kE4m3.of[p[i]];
  return load(values);
}

// The place of a slot in a pool, in elements.
inline int64_t place_of(const KvPages& pages, int64_t page_stride, int64_t page, int64_t head, int64_t offset) {
  return page * page_stride + (head * pages.page_size + offset) * pages.head_dim;
}

// The token at a position, or null where the block table has no page of the pool.
template <class T>
inline const T* token_at(const AttentionRows& p, const void* base, int64_t page_stride, int64_t position) {
  const int64_t index = position / p.pages->page_size;
  const int64_t page = index < p.max_pages ? p.block_table[index] : -1;
  if (page < 0 || page >= p.pages->pages) return nullptr;
  return static_cast<const T*>(base) + place_of(*p.pages, page_stride, page, p.kv_head, position % p.pages->page_size);
}

template <class T>
inline void widen(float* to, const T* from, int64_t n) {
  for_lanes(0, n,
            [&](int64_t i, auto count) { store_n(to + i, from ? load_elements(from + i, count) : zero(), count); });
}

// K of the positions from `first` on, `count` of them, to [head_dim][kAttentionKeys]; zeros after them.
template <class T>
void load_keys(const AttentionRows& p, int64_t first, int64_t count, float* k) {
  const int64_t head_dim = p.pages->head_dim;
  for (int64_t key = 0; key < kAttentionKeys; key += F32::lanes) {
    const T* from[F32::lanes];
    for (int i = 0; i < F32::lanes; ++i) {
      from[i] = key + i < count ? token_at<T>(p, p.pages->k, p.pages->k_page_stride, first + key + i) : nullptr;
    }
    for_lanes(0, head_dim, [&](int64_t c, auto n) {
      F32 block[F32::lanes];
      for (int i = 0; i < F32::lanes; ++i) block[i] = from[i] ? load_elements(from[i] + c, n) : zero();
      transpose(block);
      for (int i = 0; i < n; ++i) store(k + (c + i) * kAttentionKeys + key, block[i]);
    });
  }
}

// V of the same positions to [kAttentionKeys][columns].
template <class T>
void load_values(const AttentionRows& p, int64_t first, int64_t count, int64_t columns, float* v) {
  for (int64_t key = 0; key < kAttentionKeys; ++key) {
    const T* from = key < count ? token_at<T>(p, p.pages->v, p.pages->v_page_stride, first + key) : nullptr;
    widen(v + key * columns, from, p.pages->head_dim);
  }
}

// rows x two registers of out (+)= left[rows][depth] right[depth][columns]; out times scale[row] before, if any.
template <int kRows>
inline void multiply_tile(float* out, int64_t out_stride, const float* left, int64_t left_stride, const float* right,
                          int64_t right_stride, int64_t depth, const float* scale) {
  F32 sums[kRows][2];
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < 2; ++j) {
      sums[r][j] = scale ? load(out + r * out_stride + j * F32::lanes) * set(scale[r]) : zero();
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    const F32 a = load(right + k * right_stride), b = load(right + k * right_stride + F32::lanes);
    for (int r = 0; r < kRows; ++r) {
      const F32 x = set(left[r * left_stride + k]);
      sums[r][0] = fma(x, a, sums[r][0]);
      sums[r][1] = fma(x, b, sums[r][1]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < 2; ++j) store(out + r * out_stride + j * F32::lanes, sums[r][j]);
  }
}

inline void multiply(float* out, int64_t out_stride, const float* left, int64_t left_stride, const float* right,
                     int64_t right_stride, int64_t rows, int64_t depth, int64_t columns, const float* scale) {
  for (int64_t c = 0; c < columns; c += 2 * F32::lanes) {
    int64_t r = 0;
    for (; r + kRowTile <= rows; r += kRowTile) {
      multiply_tile<kRowTile>(out + r * out_stride + c, out_stride, left + r * left_stride, left_stride, right + c,
                              right_stride, depth, scale ? scale + r : nullptr);
    }
    for (; r < rows; ++r) {
      multiply_tile<1>(out + r * out_stride + c, out_stride, left + r * left_stride, left_stride, right + c,
                       right_stride, depth, scale ? scale + r : nullptr);
    }
  }
}

// A row's softmax so far.
struct Softmax {
  float maximum[kAttentionRows], total[kAttentionRows], scale[kAttentionRows];
};

// Scores of the keys [begin, end) of a step become weights, all others zeros; scale is what the sums so far shrink by.
inline void weigh(float* scores, int64_t begin, int64_t end, float& maximum, float& total, float& scale) {
  if (begin >= end) {
    store_zeros(scores, kAttentionKeys);
    scale = 1;
    return;
  }
  const float lowest = -__builtin_inff();
  for (int64_t i = 0; i < begin; ++i) scores[i] = lowest;
  for (int64_t i = end; i < kAttentionKeys; ++i) scores[i] = lowest;
  F32 largest = set(maximum);
  for (int64_t i = 0; i < kAttentionKeys; i += F32::lanes) largest = max(largest, load(scores + i));
  const float grown = reduce_max(largest);
  scale = reduce_max(exp(set(maximum - grown)));  // 0 at first
  F32 sums = zero();
  for (int64_t i = 0; i < kAttentionKeys; i += F32::lanes) {
    const F32 weight = exp(load(scores + i) - set(grown));
    store(scores + i, weight);
    sums = sums + weight;
  }
  maximum = grown;
  total = total * scale + sum(sums);
}

template <class T, class P>
void attend(const AttentionRows& p, float* memory) {
  const int64_t head_dim = p.pages->head_dim, columns = attention_layout(head_dim).columns;
  const AttentionLayout at = attention_layout(head_dim);
  Softmax softmax;
  const auto token = [&](int64_t row) { return (p.first_row + row) / p.group; };
  const auto offset = [&](int64_t row, int64_t stride) {
    return token(row) * stride + (p.first_row + row) % p.group * head_dim;
  };
  const auto first_key = [&](int64_t position) {
    return p.window && position >= p.window ? position - p.window + 1 : 0;
  };
  const F32 scale = set(p.scale * p.pages->k_scale);
  for (int64_t r = 0; r < p.rows; ++r) {
    const T* from = static_cast<const T*>(p.q) + offset(r, p.q_stride);
    float* to = memory + at.q + r * head_dim;
    for_lanes(0, head_dim, [&](int64_t i, auto n) { store_n(to + i, load_n(from + i, n) * scale, n); });
    softmax.maximum[r] = -__builtin_inff();
    softmax.total[r] = 0;
  }
  store_zeros(memory + at.sums, p.rows * columns);
  store_zeros(memory + at.v, kAttentionKeys * columns);
  const int64_t last_position = smaller(p.first_position + token(p.rows - 1), p.kv_len - 1);
  const int64_t first = first_key(p.first_position + token(0)) / kAttentionKeys * kAttentionKeys;
  for (int64_t step = first; step <= last_position; step += kAttentionKeys) {
    const int64_t count = smaller(kAttentionKeys, last_position + 1 - step);
    load_keys<P>(p, step, count, memory + at.k);
    load_values<P>(p, step, count, columns, memory + at.v);
    multiply(memory + at.scores, kAttentionKeys, memory + at.q, head_dim, memory + at.k, kAttentionKeys, p.rows,
             head_dim, kAttentionKeys, nullptr);
    for (int64_t r = 0; r < p.rows; ++r) {
      const int64_t position = p.first_position + token(r), begin = first_key(position) - step;
      weigh(memory + at.scores + r * kAttentionKeys, begin > 0 ? smaller(begin, kAttentionKeys) : 0,
            smaller(kAttentionKeys, position + 1 - step), softmax.maximum[r], softmax.total[r], softmax.scale[r]);
    }
    multiply(memory + at.sums, columns, memory + at.scores, kAttentionKeys, memory + at.v, columns, p.rows,
             kAttentionKeys, columns, softmax.scale);
  }
  for (int64_t r = 0; r < p.rows; ++r) {
    T* to = static_cast<T*>(p.out) + offset(r, p.out_stride);
    const float* from = memory + at.sums + r * columns;
    const F32 factor = set(softmax.total[r] > 0 ? p.pages->v_scale / softmax.total[r] : 0);
    for_lanes(0, head_dim, [&](int64_t i, auto n) { store_n(to + i, load_n(from + i, n) * factor, n); });
  }
}

// --- rope ------------------------------------------------------------------------------------------------------------
// The two halves of the rotated channels, each to `to` as use(place, value, count) wants it.
template <class T, class Use>
inline void rotate(const T* x, int64_t half, const float* cosines, const float* sines, Use use) {
  for_lanes(0, half, [&](int64_t i, auto n) {
    const F32 a = load_n(x + i, n), b = load_n(x + half + i, n), c = load_n(cosines + i, n), s = load_n(sines + i, n);
    use(i, a * c - b * s, n);
    use(half + i, fma(a, s, b * c), n);
  });
}

template <class T, class Count>
inline void store_elements(T* to, F32 value, F32, Count n) {
  store_n(to, value, n);
}
template <class Count>
inline void store_elements(uint8_t* to, F32 value, F32 inverse_scale, Count n) {
  float values[F32::lanes];
  store(values, value * inverse_scale);
  for (int i = 0; i < n; ++i) to[i] = to_e4m3(values[i]);
}

// norm(x) * weight of one head.
template <class T>
inline void normalise_head(const T* x, const float* weight, float eps, int64_t head_dim, float* to) {
  F32 squares = zero();
  for_lanes(0, head_dim, [&](int64_t i, auto n) {
    const F32 v = load_n(x + i, n);
    squares = fma(v, v, squares);
  });
  const F32 scale = norm::inverse_rms(squares, head_dim, eps);
  norm::scale_row(x, scale, weight, to, head_dim);
}

template <class T, class P>
void rope_store(const RopeStoreKvParams& p, int64_t token, const float* cosines, const float* sines) {
  const KvPages& pages = p.pages;
  const int64_t head_dim = pages.head_dim, half = p.rotary_dim / 2;
  alignas(64) float normed[kMaxHeadDim];
  for (int64_t h = 0; h < p.heads; ++h) {
    T* q = static_cast<T*>(p.q) + token * p.q_stride + h * head_dim;
    const auto store_query = [&](int64_t i, F32 value, auto n) { store_n(q + i, value, n); };
    if (!p.q_norm) {
      rotate(q, half, cosines, sines, store_query);
      continue;
    }
    normalise_head(q, p.q_norm, p.norm_eps, head_dim, normed);
    rotate(normed, half, cosines, sines, store_query);
    for_lanes(p.rotary_dim, head_dim, [&](int64_t i, auto n) { store_query(i, load_n(normed + i, n), n); });
  }
  const int64_t slot = p.slot_mapping[token];
  if (slot < 0 || slot >= pages.pages * pages.page_size) return;
  const F32 k_inverse = set(1 / pages.k_scale), v_inverse = set(1 / pages.v_scale);
  const auto place = [&](int64_t stride, int64_t head) {
    return place_of(pages, stride, slot / pages.page_size, head, slot % pages.page_size);
  };
  for (int64_t h = 0; h < pages.kv_heads; ++h) {
    const T* k = static_cast<const T*>(p.k) + token * p.k_stride + h * head_dim;
    const T* v = static_cast<const T*>(p.v) + token * p.v_stride + h * head_dim;
    P* k_to = static_cast<P*>(pages.k) + place(pages.k_page_stride, h);
    P* v_to = static_cast<P*>(pages.v) + place(pages.v_page_stride, h);
    const auto store_key = [&](int64_t i, F32 value, auto n) { store_elements(k_to + i, value, k_inverse, n); };
    const auto store_keys = [&](const auto* from) {
      rotate(from, half, cosines, sines, store_key);
      for_lanes(p.rotary_dim, head_dim, [&](int64_t i, auto n) { store_key(i, load_n(from + i, n), n); });
    };
    if (p.k_norm) {
      normalise_head(k, p.k_norm, p.norm_eps, head_dim, normed);
      store_keys(normed);
    } else {
      store_keys(k);
    }
    for_lanes(0, head_dim, [&](int64_t i, auto n) { store_elements(v_to + i, load_n(v + i, n), v_inverse, n); });
  }
}

// f(element of the activations, element of the pages): the same type, or codes.
template <class F>
inline void dispatch(DType dtype, DType pages, F f) {
  with_float_type(dtype, [&](auto t) {
    if (pages == DType::u8) return f(t, uint8_t());
    f(t, t);
  });
}

}  // namespace attn

inline void attention(const AttentionRows& p, void* scratch) {
  attn::dispatch(p.dtype, p.pages->dtype, [&](auto t, auto page) {
    attn::attend<decltype(t), decltype(page)>(p, static_cast<float*>(scratch));
  });
}

inline void rope_store_kv(const RopeStoreKvParams& p, int64_t token, const float* cosines, const float* sines) {
  attn::dispatch(p.dtype, p.pages.dtype,
                 [&](auto t, auto page) { attn::rope_store<decltype(t), decltype(page)>(p, token, cosines, sines); });
}

}  // namespace mamba::cpu::MAMBA_ISA
