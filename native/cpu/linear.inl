// linear: out = x weight^T + bias, or out += of the same, for one block of rows and columns.
//
// Idea. A register tile of R rows x V vectors of columns is kept in accumulators over the whole of k. There is no split
// over k and no second order of summation: R and V only choose which elements are computed side by side, so an element
// has the same bits whatever the batch. For few rows V grows, to keep enough independent sums in flight.
//
// Layout. All operands are streams of 32-bit words: a float, or the bf16 of k and k + 1 (k in the low half).
//   weight  [ceil(n / 32)] panels of [steps][32] words; steps = ceil(k / 2) (bf16) or k (f32; f16 too, as floats of the
//           values that f16 has: no set here multiplies f16). Zero padded.
//   x tile  [chunks][R][16] words, in scratch; chunks = ceil(words of a row / 16); zero padded. A row of a chunk is one
//           cache line: filling a tile is a copy and not a transposition, every address in the kernel is base +
//           constant, and no stride of x can map the rows of a tile onto one cache set.
//
// Mapping. One step (a row of 32 words of a panel) is, by the types of x and weight:
//   DotBf16   bf16 x bf16, with AVX512_BF16: one word of x, vdpbf16ps.
//   FmaBf16   any x bf16 elsewhere: two floats of x against the low and then the high halves as floats (exact).
//   FmaF32    any x f32 or f16: one float of x.
// A group of panels is used for all row tiles of the task before the next one is touched: it comes from memory once and
// then from L2, beside the block of x.
//
// Bound. Few rows: the bytes of the packed weight. Many rows: m n k multiply-adds; a 12 x 32 tile of AVX-512
// loads 2 vectors and 12 broadcasts for 24 multiply-adds, so the multipliers are what limits it.

#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace matmul {

inline constexpr int kChunk = 16;  // words: one cache line
inline constexpr int kPanel = kPanelColumns;
// Columns that all row tiles of a task go through before the next ones: their panels stay in L2 beside the x tiles.
inline constexpr int kGroupColumns = 4 * kPanel;

// One register of words, with the operators of an integer.
template <int lanes>
struct WordsOf {
  typedef uint32_t Type __attribute__((vector_size(4 * lanes)));
};
template <>
struct WordsOf<1> {
  using Type = uint32_t;
};
using Words = WordsOf<F32::lanes>::Type;

inline Words load_words(const uint32_t* p) {
  Words w;
  __builtin_memcpy(&w, p, sizeof w);
  return w;
}
inline F32 as_f32(Words w) { return {__builtin_bit_cast(decltype(F32::v), w)}; }
inline F32 broadcast(const uint32_t* p) {
  float x;
  __builtin_memcpy(&x, p, 4);
  return set(x);
}

struct FmaF32 {
  static constexpr int words = 1;  // of x per step
  static F32 weight(const uint32_t* p, int) { return as_f32(load_words(p)); }
  static F32 add(const uint32_t* x, F32 w, F32 sum) { return fma(broadcast(x), w, sum); }
};

struct FmaBf16 {
  static constexpr int words = 2;
  static F32 weight(const uint32_t* p, int half) {
    const Words w = load_words(p);
    return as_f32(half == 0 ? w << 16 : w & 0xffff0000u);
  }
  static F32 add(const uint32_t* x, F32 w, F32 sum) { return fma(broadcast(x), w, sum); }
};

#ifdef MAMBA_ISA_BF16
struct DotBf16 {
  static constexpr int words = 1;
  static F32 weight(const uint32_t* p, int) { return as_f32(load_words(p)); }
  static F32 add(const uint32_t* x, F32 w, F32 sum) {
    return {_mm512_dpbf16_ps(sum.v, (__m512bh)_mm512_set1_epi32(static_cast<int>(*x)), (__m512bh)w.v)};
  }
};
#endif

// Rows of the largest tile, and vectors of columns beside R rows, by the number of registers.
inline constexpr int kMaxRows = F32::lanes == 16 ? 12 : F32::lanes == 8 ? 6 : 1;
constexpr int vectors_beside(int rows) {
  if (F32::lanes == 1) return kPanel;
  if (F32::lanes == 16) return rows <= 3 ? 4 : 2;
  return rows == 1 ? 8 : rows <= 3 ? 4 : 2;
}
template <int R>
inline constexpr int kVectors = vectors_beside(R);

// Where results go.
struct Output {
  void* data;  // the first row of the tile, column 0
  int64_t stride;
  const float* bias;  // null, or one value per column
  DType dtype;
  bool accumulate;
};

// At most n columns.
template <class T>
inline void store_columns(T* p, F32 a, int64_t n, bool accumulate) {
  if (n >= F32::lanes) {
    store(p, accumulate ? load(p) + a : a);
  } else {
    const int count = static_cast<int>(n);
    store_partial(p, accumulate ? load_partial(p, count) + a : a, count);
  }
}

// R rows x kVectors<R> vectors of columns from columns.begin on; those past columns.end are not stored.
template <class Op, int R>
void tile(const uint32_t* x, const uint32_t* weight, int64_t steps, Range columns, const Output& out) {
  constexpr int V = kVectors<R>, L = F32::lanes;
  constexpr int P = V * L > kPanel ? V * L / kPanel : 1;
  // In place of a panel past the end the last one is read again.
  const uint32_t* panel[P];
  const int64_t first = columns.begin / kPanel, last = (columns.end - 1) / kPanel;
  for (int p = 0; p < P; ++p) {
    panel[p] = weight + (first + p < last ? first + p : last) * steps * kPanel + columns.begin % kPanel;
  }

  F32 sum[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) sum[r][v] = zero();
  }
  for (int64_t left = steps, offset = 0; left > 0; x += R * kChunk) {
    const int count = left < kChunk / Op::words ? static_cast<int>(left) : kChunk / Op::words;
    left -= count;
    const uint32_t* word = x;
    for (int s = 0; s < count; ++s, offset += kPanel) {
      // A strip of half a panel leaves every other cache line for the next strip: bring it along.
      if constexpr (V * L < kPanel) __builtin_prefetch(panel[0] + offset + V * L);
      for (int half = 0; half < Op::words; ++half, ++word) {
        F32 w[V];
        for (int v = 0; v < V; ++v) w[v] = Op::weight(panel[v * L / kPanel] + offset + v * L % kPanel, half);
        for (int r = 0; r < R; ++r) {
          for (int v = 0; v < V; ++v) sum[r][v] = Op::add(word + r * kChunk, w[v], sum[r][v]);
        }
      }
    }
  }

  for (int v = 0; v < V; ++v) {
    const int64_t c = columns.begin + v * L, n = columns.end - c;
    if (n <= 0) break;
    F32 bias = zero();
    if (out.bias) bias = n >= L ? load(out.bias + c) : load_partial(out.bias + c, static_cast<int>(n));
    for (int r = 0; r < R; ++r) {
      const F32 y = out.bias ? sum[r][v] + bias : sum[r][v];
      const int64_t at = r * out.stride + c;
      with_float_type(out.dtype,
                      [&](auto t) { store_columns(static_cast<decltype(t)*>(out.data) + at, y, n, out.accumulate); });
    }
  }
}

template <class Op, int R>
void row_of_tiles(const uint32_t* x, const uint32_t* weight, int64_t steps, Range columns, const Output& out) {
  for (; columns.begin < columns.end; columns.begin += kVectors<R> * F32::lanes) {
    tile<Op, R>(x, weight, steps, columns, out);
  }
}

// row_of_tiles for a height known at run time.
template <class Op, int R = kMaxRows>
void row_of_tiles(int height, const uint32_t* x, const uint32_t* weight, int64_t steps, Range columns,
                  const Output& out) {
  if constexpr (R > 1) {
    if (height < R) return row_of_tiles<Op, R - 1>(height, x, weight, steps, columns, out);
  }
  row_of_tiles<Op, R>(x, weight, steps, columns, out);
}

// A run of elements in another type. Those of the same type are kept bit by bit.
template <class T>
inline void convert(T* dst, const T* src, int n) {
  __builtin_memcpy(dst, src, static_cast<size_t>(n) * sizeof(T));
}
template <class Dst, class Src>
inline void convert(Dst* dst, const Src* src, int n) {
  for_lanes(0, n, [&](int64_t i, auto count) { store_n(dst + i, load_n(src + i, count), count); });
}

// How x becomes words: chunk() writes one row of a chunk from n elements, n at most per_chunk, and pads with zeros.
template <class T>
struct FloatX {
  using Type = T;
  static constexpr int per_chunk = kChunk;
  static void chunk(uint32_t* dst, const T* src, int n) {
    if (n < per_chunk) __builtin_memset(dst, 0, 4 * kChunk);
    convert(reinterpret_cast<float*>(dst), src, n);
  }
};

struct PairedX {
  using Type = bf16;
  static constexpr int per_chunk = 2 * kChunk;
  static void chunk(uint32_t* dst, const bf16* src, int n) {
    if (n < per_chunk) __builtin_memset(dst, 0, 4 * kChunk);
    __builtin_memcpy(dst, src, static_cast<size_t>(n) * sizeof *src);
  }
};

template <class X>
void fill_tile(uint32_t* dst, const typename X::Type* x, int64_t stride, int height, int64_t k) {
  for (; k >= X::per_chunk; k -= X::per_chunk, x += X::per_chunk) {
    for (int r = 0; r < height; ++r, dst += kChunk) X::chunk(dst, x + r * stride, X::per_chunk);
  }
  if (k == 0) return;
  for (int r = 0; r < height; ++r, dst += kChunk) X::chunk(dst, x + r * stride, static_cast<int>(k));
}

template <class Op, class X>
void linear_block(const LinearParams& p, Range rows, Range columns, void* scratch) {
  const int64_t out_bytes = p.out_dtype == DType::f32 ? 4 : 2;
  const int64_t steps = p.weight_dtype == DType::bf16 ? (p.k + 1) / 2 : p.k;
  const int64_t row_words = (p.k + X::per_chunk - 1) / X::per_chunk * kChunk;
  // Tiles of like heights: 16 rows are 8 + 8 and not 12 + 4.
  const int64_t count = rows.end - rows.begin, tiles = (count + kMaxRows - 1) / kMaxRows;
  const int64_t tile_rows = (count + tiles - 1) / tiles;
  uint32_t* words = static_cast<uint32_t*>(scratch);
  const auto height = [=](int64_t r) { return static_cast<int>(count - r < tile_rows ? count - r : tile_rows); };

  for (int64_t r = 0; r < count; r += tile_rows) {
    const auto* x = static_cast<const typename X::Type*>(p.x) + (rows.begin + r) * p.x_stride;
    fill_tile<X>(words + r * row_words, x, p.x_stride, height(r), p.k);
  }
  for (int64_t c = columns.begin; c < columns.end; c += kGroupColumns) {
    const Range group = {c, c + kGroupColumns < columns.end ? c + kGroupColumns : columns.end};
    for (int64_t r = 0; r < count; r += tile_rows) {
      char* data = static_cast<char*>(p.out) + (rows.begin + r) * p.out_stride * out_bytes;
      row_of_tiles<Op>(height(r), words + r * row_words, static_cast<const uint32_t*>(p.weight), steps, group,
                       {data, p.out_stride, p.bias, p.out_dtype, p.accumulate});
    }
  }
}

}  // namespace matmul

inline void linear(const LinearParams& p, Range rows, Range columns, void* scratch) {
  using namespace matmul;
#ifdef MAMBA_ISA_BF16
  if (p.weight_dtype == DType::bf16 && p.x_dtype == DType::bf16) {
    return linear_block<DotBf16, PairedX>(p, rows, columns, scratch);
  }
#endif
  with_float_type(p.x_dtype, [&](auto x) {
    using X = FloatX<decltype(x)>;
    (p.weight_dtype == DType::bf16 ? linear_block<FmaBf16, X> : linear_block<FmaF32, X>)(p, rows, columns, scratch);
  });
}

namespace matmul {

// What a weight's elements are in panels.
template <class Value>
struct Packed {
  using Type = float;
};
template <>
struct Packed<bf16> {
  using Type = bf16;
};

// 32 steps of a panel are 4 KB: they stay in L1 while each column adds its word to each.
inline constexpr int kPackSteps = 32;

// One column's share of kPackSteps: `elements` of its k, then zeros up to `steps`. Sizes known to the compiler cost no
// calls.
template <class Value, class Src>
inline void pack_column(uint32_t* dst, const Src* src, auto elements, auto steps) {
  using Dst = typename Packed<Value>::Type;
  constexpr int per_step = 4 / sizeof(Dst);
  Value values[kPackSteps * per_step];
  Dst run[kPackSteps * per_step] = {};
  convert(values, src, elements);
  convert(run, values, elements);
  for (int i = 0; i < steps; ++i) __builtin_memcpy(dst + i * kPanel, run + i * per_step, 4);
}

template <class Value, class Src>
void pack_panels(const PackPanels& p) {
  constexpr int per_step = 4 / sizeof(typename Packed<Value>::Type);
  using Whole = std::integral_constant<int, kPackSteps>;
  using WholeRun = std::integral_constant<int, kPackSteps * per_step>;
  const int64_t steps = (p.k + per_step - 1) / per_step;
  for (int64_t panel = 0; panel * kPanel < p.n; ++panel) {
    uint32_t* dst = static_cast<uint32_t*>(p.dst) + panel * steps * kPanel;
    for (int64_t s = 0; s < steps; s += kPackSteps) {
      const int64_t k = s * per_step, left = p.k - k;
      for (int c = 0; c < kPanel; ++c) {
        const int64_t column = panel * kPanel + c;
        const Src* src = static_cast<const Src*>(p.src) + column * p.k + k;
        uint32_t* to = dst + s * kPanel + c;
        if (column < p.n && left >= WholeRun()) {
          pack_column<Value>(to, src, WholeRun(), Whole());
        } else {
          const int elements = column < p.n ? static_cast<int>(left < WholeRun() ? left : WholeRun()) : 0;
          pack_column<Value>(to, src, elements, static_cast<int>(steps - s < kPackSteps ? steps - s : kPackSteps));
        }
      }
    }
  }
}

}  // namespace matmul

inline void pack_linear_weight(const PackPanels& p) {
  with_float_type(p.dst_dtype, [&](auto value) {
    with_float_type(p.src_dtype, [&](auto src) { matmul::pack_panels<decltype(value), decltype(src)>(p); });
  });
}

}  // namespace mamba::cpu::MAMBA_ISA
