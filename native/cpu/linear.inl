// linear: out = alpha x weight^T + bias, or out += of the same, for one block of rows and columns.
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
//   DotTiles  bf16 x bf16, with AMX: sixteen steps at once, see tiles.inl.
//   DotBf16   bf16 x bf16, with AVX512_BF16: one word of x, vdpbf16ps.
//   FmaBf16   any x bf16 elsewhere: two floats of x against the low and then the high halves as floats (exact).
//   FmaF32    any x f32 or f16: one float of x.
// A group of panels is used for all row tiles of the task before the next one is touched: it comes from memory once and
// then from L2, beside the block of x.
//
// Bound. Few rows: the bytes of the packed weight, asked for some way ahead, across the ends of pages and panels, where
// the processor does not notice that they are read in order. Many rows: m n k multiply-adds; a 12 x 32 tile of AVX-512
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
inline constexpr int kMaxRows = F32::lanes == 16 ? 12 : F32::lanes >= 4 ? 6 : 1;
constexpr int vectors_beside(int rows) {
  if (F32::lanes == 1) return kPanel;
  if (F32::lanes == 16) return rows <= 3 ? 4 : 2;
  if (F32::lanes == 4) return rows <= 2 ? 8 : 4;
  return rows == 1 ? 8 : rows <= 3 ? 4 : 2;
}
template <int R>
inline constexpr int kVectors = vectors_beside(R);

// Rows that an Op takes at once.
template <class Op>
inline constexpr int kTallest = kMaxRows;

// Where results go.
struct Output {
  void* data;  // the first row of the tile, column 0
  int64_t stride;
  const float* bias;  // null, or one value per column
  float alpha;
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

// The sums of a tile, from columns.begin on.
template <int R, int V>
inline void store_tile(const F32 (&sum)[R][V], Range columns, const Output& out) {
  constexpr int L = F32::lanes;
  for (int v = 0; v < V; ++v) {
    const int64_t c = columns.begin + v * L, n = columns.end - c;
    if (n <= 0) break;
    F32 bias = zero();
    if (out.bias) bias = n >= L ? load(out.bias + c) : load_partial(out.bias + c, static_cast<int>(n));
    for (int r = 0; r < R; ++r) {
      const F32 product = sum[r][v] * set(out.alpha);
      const F32 y = out.bias ? product + bias : product;
      const int64_t at = r * out.stride + c;
      with_float_type(out.dtype,
                      [&](auto t) { store_columns(static_cast<decltype(t)*>(out.data) + at, y, n, out.accumulate); });
    }
  }
}

inline constexpr int kFewRows = 3;            // for which a weight's bytes are what is waited for
inline constexpr int64_t kAheadBytes = 1024;  // of a panel; four times as much is no better
inline constexpr int64_t kLine = 64;

// Asks for what is kAheadBytes behind the next `bytes` of the panels of a strip, or in the strip after it.
template <class T, int P>
inline void ask_ahead(const T* const (&panel)[P], int64_t offset, int64_t panel_bytes, int64_t bytes) {
  const int64_t at = offset + kAheadBytes, next = at < panel_bytes ? at : at + (P - 1) * panel_bytes;
  for (int p = 0; p < P; ++p) {
    for (int64_t line = 0; line < bytes; line += kLine) {
      __builtin_prefetch(reinterpret_cast<const char*>(panel[p]) + next + line);
    }
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

  // In registers only where each index is a constant: GCC does not unroll loops of so many sums by itself.
  F32 sum[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) sum[r][v] = zero();
  }
  for (int64_t left = steps, offset = 0; left > 0; x += R * kChunk) {
    const int count = left < kChunk / Op::words ? static_cast<int>(left) : kChunk / Op::words;
    left -= count;
    const uint32_t* word = x;
    for (int s = 0; s < count; ++s, offset += kPanel) {
      if constexpr (R <= kFewRows && V * L >= kPanel) ask_ahead(panel, 4 * offset, 4 * steps * kPanel, 4 * kPanel);
      // A strip of half a panel leaves every other cache line for the next strip: bring it along.
      if constexpr (V * L < kPanel) __builtin_prefetch(panel[0] + offset + V * L);
      for (int half = 0; half < Op::words; ++half, ++word) {
        F32 w[V];
        for (int v = 0; v < V; ++v) w[v] = Op::weight(panel[v * L / kPanel] + offset + v * L % kPanel, half);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
          for (int v = 0; v < V; ++v) sum[r][v] = Op::add(word + r * kChunk, w[v], sum[r][v]);
        }
      }
    }
  }

  F32 done[R][V];  // what a function that is not inlined may take the address of
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) done[r][v] = sum[r][v];
  }
  store_tile<R>(done, columns, out);
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

}  // namespace matmul
}  // namespace mamba::cpu::MAMBA_ISA

#ifdef MAMBA_ISA_AMX
#include "cpu/tiles.inl"
#endif

namespace mamba::cpu::MAMBA_ISA {
namespace matmul {

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

// A tile of rows in the order of the kernel; row(r) is where row r of them lies.
template <class X, class Row>
void fill_tile(uint32_t* dst, Row row, int height, int64_t k) {
  for (int64_t i = 0; i < k; i += X::per_chunk) {
    const int n = static_cast<int>(smaller(X::per_chunk, k - i));
    if (n == X::per_chunk) {
      for (int r = 0; r < height; ++r, dst += kChunk) X::chunk(dst, row(r) + i, X::per_chunk);
    } else {
      for (int r = 0; r < height; ++r, dst += kChunk) X::chunk(dst, row(r) + i, n);
    }
  }
}

// What a task's products read besides the columns.
struct WeightForm {
  int64_t k;
  DType dtype;
  int64_t group;
};

// Rows of tiles of like heights: 16 rows are 8 + 8 and not 12 + 4.
inline int64_t tile_rows_of(int64_t count, int64_t most) {
  const int64_t tiles = (count + most - 1) / most;
  return (count + tiles - 1) / tiles;
}

// The rows of x of one task in scratch, and their products with columns of a weight.
template <class Op, class X>
class Block {
 public:
  using Element = typename X::Type;

  // row(r) is where row r of `count` lies; `filled`: scratch has them already.
  template <class Row>
  Block(void* scratch, bool filled, int64_t count, const WeightForm& weight, Row row)
      : words_(static_cast<uint32_t*>(scratch)),
        count_(count),
        row_words_((weight.k + X::per_chunk - 1) / X::per_chunk * kChunk),
        steps_(weight.dtype == DType::bf16 ? (weight.k + 1) / 2 : weight.k),
        tile_rows_(kTallest<Op> > kMaxRows ? kTallest<Op> : tile_rows_of(count, kMaxRows)) {
    if (filled) return;
    for (int64_t r = 0; r < count; r += tile_rows_) {
      fill_tile<X>(
          words_ + r * row_words_, [=](int64_t i) { return row(r + i); }, height(r), weight.k);
    }
  }

  // out.data: the first of the rows.
  void multiply(const void* weight, Range columns, const Output& out) const {
    const int64_t out_bytes = out.dtype == DType::f32 ? 4 : 2;
    const int64_t width = count_ > tile_rows_ ? kGroupColumns : columns.end - columns.begin;
    for (int64_t c = columns.begin; c < columns.end; c += width) {
      const Range group = {c, smaller(c + width, columns.end)};
      for (int64_t r = 0; r < count_; r += tile_rows_) {
        Output rows = out;
        rows.data = static_cast<char*>(out.data) + r * out.stride * out_bytes;
        row_of_tiles<Op>(height(r), words_ + r * row_words_, static_cast<const uint32_t*>(weight), steps_, group, rows);
      }
    }
  }

 private:
  int height(int64_t r) const { return static_cast<int>(smaller(count_ - r, tile_rows_)); }

  uint32_t* words_;
  int64_t count_, row_words_, steps_, tile_rows_;
};

}  // namespace matmul
}  // namespace mamba::cpu::MAMBA_ISA

#include "cpu/quantized_linear.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace matmul {

// f.operator()<Block>() for the types of x and weight.
template <class F>
inline void with_operands(DType x_dtype, DType weight_dtype, F f) {
#ifdef MAMBA_ISA_AMX
  if (weight_dtype == DType::bf16 && x_dtype == DType::bf16) return f.template operator()<Block<DotTiles, PairedX>>();
#elif defined(MAMBA_ISA_BF16)
  if (weight_dtype == DType::bf16 && x_dtype == DType::bf16) return f.template operator()<Block<DotBf16, PairedX>>();
#endif
  with_float_type(x_dtype, [&](auto x) {
    using T = decltype(x);
    switch (weight_dtype) {
      case DType::u4:
        return f.template operator()<QuantizedBlock<ProductsU4, T>>();
      case DType::i8:
      case DType::e2m1:
        return f.template operator()<QuantizedBlock<ProductsI8, T>>();
      case DType::e4m3:
        return f.template operator()<QuantizedBlock<FmaE4m3, T>>();
      case DType::bf16:
        return f.template operator()<Block<FmaBf16, FloatX<T>>>();
      default:
        return f.template operator()<Block<FmaF32, FloatX<T>>>();
    }
  });
}

}  // namespace matmul

inline void linear(const LinearParams& p, Range rows, Range columns, void* scratch, bool filled) {
  matmul::with_operands(p.x_dtype, p.weight_dtype, [&]<class Block>() {
    const int64_t out_bytes = p.out_dtype == DType::f32 ? 4 : 2;
    const auto* x = static_cast<const typename Block::Element*>(p.x) + rows.begin * p.x_stride;
    const Block block(scratch, filled, rows.end - rows.begin, {p.k, p.weight_dtype, p.weight_group},
                      [&](int64_t r) { return x + r * p.x_stride; });
    char* data = static_cast<char*>(p.out) + rows.begin * p.out_stride * out_bytes;
    block.multiply(p.weight, columns, {data, p.out_stride, p.bias, p.alpha, p.out_dtype, p.accumulate});
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
