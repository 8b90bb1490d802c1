// linear of a weight of codes (core/codes.h), for one block of rows and columns.
//
// Idea. linear.inl's register tile over other operands. Integer codes meet x as integers of 16 bits with a scale for
// each 32 of a row, which lose less of x than bf16 does; products are exact in 32 bits, and become floats, times both
// scales, once for each 32 of k (16 if a group has no more). e4m3 is widened to floats. Where bytes can be multiplied
// (VNNI), an integer of x is two digits to the base 256, and codes need not be widened: a product for each digit takes
// as many instructions as one of pairs. Those bytes have no sign, so codes of i8 are 128 more, which a sum of x undoes.
//
// Layout. A panel of 32 columns is [groups] of their scales, 128 bytes, and then their codes; k is padded with zeros to
// whole chunks of 32.
//   i8, e2m1  scales f32; words of a column with the codes of four of k, (k, k + 2) in the low half, (k + 1, k + 3) in
//             the high one: shifts of 16 bits give pairs. e2m1 is stored as i8 that mean twice as much.
//   u4        scales f16, offsets f16; words of eight of k: even ones in the low half, odd ones in the high half.
//   e4m3      scales f32, times 2^8 (load_e4m3); [k][32] bytes.
//   x tile    [chunks] of [R][16] words of pairs, then R scales and R sums, as floats; of [R][32] floats for e4m3. Of
//             digits: 8 words of high and 8 of low ones, a scale, and a sum (u4) or what each run's sums begin with
//             (i8).
//
// Mapping. As linear.inl: an element has the same bits in any batch. The offsets of a group are added times the sum of
// x.
//
// Bound. Few rows: the bytes of the packed weight. Many rows: a multiply-add of pairs and an addition for 2 lanes
// products (one instruction with VNNI), as many as FmaBf16 has, and about a tenth more for scales.

#include "cpu/linear.h"

namespace mamba::cpu::MAMBA_ISA {
namespace matmul {

inline constexpr int kQuantizedChunk = 32;  // of k

// With twice the sums, four vectors of eight lanes fill the registers.
template <int R>
inline constexpr int kQuantizedVectors = F32::lanes == 8 && kVectors<R> > 4 ? 4 : kVectors<R>;

// The largest integer of x: two digits of 127.
inline constexpr float kLargest = 127 * 256 + 127;

// 32 elements of x that become integers by a factor, and what those stand for by the scale.
struct ScaledChunk {
  const float* x;
  F32 factor;
  float scale;
  int64_t stride, runs;  // of the words behind a row's integers; of the weight's chunks
  F32 integers(int i) const { return round(load(x + i) * factor); }
};

struct Integers {
  using Sum = I32;
  static constexpr int row_words = kQuantizedChunk / 2;  // of x in a chunk
  static constexpr int tail_words = 2;                   // behind them
  static constexpr int column_bytes = 4;                 // of a step
  static constexpr int max_rows = kMaxRows;
  static I32 load(const char* at) { return load_i32(at); }
  static I32 add(const uint32_t* x, I32 codes, I32 sum) { return add_products(codes, set_i32(*x), sum); }
  static I32 none(const uint32_t*) { return set_i32(0); }
  static F32 value(I32 sum) { return to_floats(sum); }
  // The words of x, and what is behind the scale.
  static void put(uint32_t* words, uint32_t* behind, const ScaledChunk& chunk) {
    int16_t pairs[kQuantizedChunk];
    F32 all = zero();
    for (int i = 0; i < kQuantizedChunk; i += F32::lanes) {
      const F32 value = chunk.integers(i);
      store_int16(pairs + i, value);
      all = all + value;
    }
    __builtin_memcpy(words, pairs, sizeof pairs);
    put_float(behind, sum(all) * chunk.scale);
  }
  static void put_float(uint32_t* to, float value) { __builtin_memcpy(to, &value, 4); }
};

struct DotI8 : Integers {
  static constexpr int steps = 8, terms = 2;  // of a chunk; words of x of a step
  static constexpr bool offsets = false;
  static I32 term(I32 word, int i) { return i == 0 ? low_bytes(word) : high_bytes(word); }
};

struct DotU4 : Integers {
  static constexpr int steps = 4, terms = 4;
  static constexpr bool offsets = true;
  static I32 term(I32 word, int i) { return nibbles(word, i); }
};

#ifdef MAMBA_ISA_BYTES
struct Digits : Integers {
  struct Sum {
    I32 high, low;
  };
  static constexpr int max_rows = kMaxRows / 2;  // with twice the sums
  static Sum add(const uint32_t* x, I32 codes, Sum sum) {
    return {add_byte_products(codes, set_i32(x[0]), sum.high), add_byte_products(codes, set_i32(x[8]), sum.low)};
  }
  static Sum none(const uint32_t*) { return {set_i32(0), set_i32(0)}; }
  static F32 value(Sum sum) { return to_floats(shift_left(sum.high, 8) + sum.low); }
  static void put_digits(uint32_t* words, F32 first, F32 second, const int8_t (&order)[16]) {
    static_assert(2 * F32::lanes == kQuantizedChunk);
    auto* digits = reinterpret_cast<int8_t*>(words);
    store_digits(digits, digits + kQuantizedChunk, first, order);
    store_digits(digits + F32::lanes, digits + kQuantizedChunk + F32::lanes, second, order);
  }
};

struct DigitsI8 : Digits {
  static constexpr int steps = 8, terms = 1, tail_words = 3;
  static constexpr bool offsets = false;
  static constexpr int8_t order[16] = {0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15};
  static I32 term(I32 word, int) { return word ^ set_i32(0x80808080); }
  static Sum none(const uint32_t* begin) { return {set_i32(0), set_i32(*begin)}; }
  static void put(uint32_t* words, uint32_t* behind, const ScaledChunk& chunk) {
    const F32 first = chunk.integers(0), second = chunk.integers(F32::lanes);
    put_digits(words, first, second, order);
    behind[0] = begin(chunk.runs == 1 ? first + second : first, chunk.scale);
    behind[chunk.stride] = begin(second, chunk.scale);
  }
  static uint32_t begin(F32 integers, float scale) {
    return static_cast<uint32_t>(scale == scale ? -128 * static_cast<int32_t>(sum(integers)) : 0);
  }
};

struct DigitsU4 : Digits {
  static constexpr int steps = 4, terms = 2;
  static constexpr bool offsets = true;
  static constexpr int8_t order[16] = {0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15};
  static I32 term(I32 word, int i) { return (i == 0 ? word : shift_right(word, 4)) & set_i32(0x0f0f0f0f); }
  static void put(uint32_t* words, uint32_t* behind, const ScaledChunk& chunk) {
    const F32 first = chunk.integers(0), second = chunk.integers(F32::lanes);
    put_digits(words, first, second, order);
    put_float(behind, sum(first + second) * chunk.scale);
  }
};

using ProductsI8 = DigitsI8;
using ProductsU4 = DigitsU4;
#else
using ProductsI8 = DotI8;
using ProductsU4 = DotU4;
#endif

struct FmaE4m3 {
  using Sum = F32;
  static constexpr int row_words = kQuantizedChunk, tail_words = 0, column_bytes = 1, max_rows = kMaxRows;
  static constexpr int steps = kQuantizedChunk, terms = 1;
  static constexpr bool offsets = false;
  static F32 load(const char* at) { return load_e4m3(reinterpret_cast<const uint8_t*>(at)); }
  static F32 term(F32 codes, int) { return codes; }
  static F32 add(const uint32_t* x, F32 codes, F32 sum) { return fma(broadcast(x), codes, sum); }
  static F32 none(const uint32_t*) { return zero(); }
  static F32 value(F32 sum) { return sum; }
};

template <class Op>
inline constexpr bool kIntegers = Op::row_words == kQuantizedChunk / 2;

// Words of a chunk of one row of x, what is behind them included.
template <class Op>
inline constexpr int kRowWords = Op::row_words + Op::tail_words;

// R rows x kQuantizedVectors<R> vectors of columns from columns.begin on; those past columns.end are not stored.
template <class Op, int R>
void quantized_tile(const uint32_t* x, const char* weight, const QuantizedPanels& form, Range columns,
                    const Output& out) {
  constexpr int V = kQuantizedVectors<R>, L = F32::lanes;
  constexpr int P = V * L > kPanel ? V * L / kPanel : 1;
  constexpr bool ahead = R <= kFewRows && V * L >= kPanel;
  const char* panel[P];
  const int64_t first = columns.begin / kPanel, last = (columns.end - 1) / kPanel;
  for (int p = 0; p < P; ++p) panel[p] = weight + (first + p < last ? first + p : last) * form.panel_bytes;
  const int64_t column = columns.begin % kPanel;

  F32 total[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) total[r][v] = zero();
  }
  const int64_t steps = Op::steps / form.runs;
  int64_t offset = 0, scales = 0, left = 0;  // left: runs of the group
  for (int64_t chunk = 0; chunk < form.chunks; ++chunk, x += R * kRowWords<Op>) {
    const uint32_t* tail = x + R * Op::row_words;
    const auto* x_scales = reinterpret_cast<const float*>(tail);
    const uint32_t* word = x;
    for (int64_t run = 0; run < form.runs; ++run) {
      if (left == 0) {
        scales = offset, left = form.group_runs;
        if constexpr (ahead) ask_ahead(panel, offset, form.panel_bytes, kScalesBytes);
        offset += kScalesBytes;
      }
      --left;
      typename Op::Sum sum[R][V];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) sum[r][v] = Op::none(tail + R * (1 + run) + r);
      }
      for (int64_t s = 0; s < steps; ++s, offset += kPanel * Op::column_bytes) {
        decltype(Op::load(nullptr)) codes[V];
        if constexpr (ahead) ask_ahead(panel, offset, form.panel_bytes, kPanel * Op::column_bytes);
        for (int v = 0; v < V; ++v) {
          codes[v] = Op::load(panel[v * L / kPanel] + offset + (column + v * L % kPanel) * Op::column_bytes);
        }
        for (int i = 0; i < Op::terms; ++i, ++word) {
#pragma GCC unroll 16
          for (int v = 0; v < V; ++v) {
            const auto term = Op::term(codes[v], i);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) sum[r][v] = Op::add(word + r * Op::row_words, term, sum[r][v]);
          }
        }
      }
      for (int v = 0; v < V; ++v) {
        const char* at = panel[v * L / kPanel] + scales;
        const int64_t c = column + v * L % kPanel;
        if constexpr (Op::offsets) {
          const F32 scale = load(reinterpret_cast<const f16*>(at) + c);
          const F32 added = load(reinterpret_cast<const f16*>(at) + kPanel + c);
          for (int r = 0; r < R; ++r) {
            total[r][v] = fma(Op::value(sum[r][v]), scale * set(x_scales[r]), total[r][v]);
            total[r][v] = fma(added, set(x_scales[R + r]), total[r][v]);
          }
        } else {
          const F32 scale = load(reinterpret_cast<const float*>(at) + c);
          for (int r = 0; r < R; ++r) {
            const F32 factor = kIntegers<Op> ? scale * set(x_scales[r]) : scale;
            total[r][v] = fma(Op::value(sum[r][v]), factor, total[r][v]);
          }
        }
      }
    }
  }
  store_tile<R>(total, columns, out);
}

template <class Op, int R = Op::max_rows>
void row_of_quantized_tiles(int height, const uint32_t* x, const char* weight, const QuantizedPanels& form,
                            Range columns, const Output& out) {
  if constexpr (R > 1) {
    if (height < R) return row_of_quantized_tiles<Op, R - 1>(height, x, weight, form, columns, out);
  }
  for (; columns.begin < columns.end; columns.begin += kQuantizedVectors<R> * F32::lanes) {
    quantized_tile<Op, R>(x, weight, form, columns, out);
  }
}

// 32 elements of x as integers with their scale. What is no number makes the scale none.
template <class Op>
inline void quantize_chunk(uint32_t* words, uint32_t* tail, int64_t stride, int64_t runs, const float* x) {
  F32 most = zero(), check = zero();
  for (int i = 0; i < kQuantizedChunk; i += F32::lanes) {
    const F32 value = load(x + i);
    most = max(most, max(value, zero() - value));
    check = fma(value, zero(), check);
  }
  const float magnitude = reduce_max(most);
  const float factor = magnitude > 1e-30f ? kLargest / magnitude : 0.0f;
  const float scale = magnitude * (1.0f / kLargest) + sum(check);
  __builtin_memcpy(tail, &scale, 4);
  Op::put(words, tail + stride, {x, set(factor), scale, stride, runs});
}

// The same interface as Block.
template <class Op, class T>
class QuantizedBlock {
 public:
  using Element = T;

  template <class Row>
  QuantizedBlock(void* scratch, bool filled, int64_t count, const WeightForm& weight, Row row)
      : words_(static_cast<uint32_t*>(scratch)),
        count_(count),
        tile_rows_(tile_rows_of(count, Op::max_rows)),
        form_(quantized_panels(weight.k, weight.dtype, weight.group)) {
    if (filled) return;
    for (int64_t r = 0; r < count; r += tile_rows_) {
      const int64_t rows = height(r);
      uint32_t* chunk = words_ + r * form_.chunks * kRowWords<Op>;
      for (int64_t k = 0; k < weight.k; k += kQuantizedChunk, chunk += rows * kRowWords<Op>) {
        for (int64_t i = 0; i < rows; ++i) {
          float values[kQuantizedChunk] = {};
          convert(values, row(r + i) + k, static_cast<int>(smaller(kQuantizedChunk, weight.k - k)));
          uint32_t* to = chunk + i * Op::row_words;
          if constexpr (kIntegers<Op>) {
            quantize_chunk<Op>(to, chunk + rows * Op::row_words + i, rows, form_.runs, values);
          } else {
            __builtin_memcpy(to, values, sizeof values);
          }
        }
      }
    }
  }

  // out.data: the first of the rows.
  void multiply(const void* weight, Range columns, const Output& out) const {
    const int64_t out_bytes = out.dtype == DType::f32 ? 4 : 2;
    for (int64_t c = columns.begin; c < columns.end; c += kGroupColumns) {
      const Range group = {c, smaller(c + kGroupColumns, columns.end)};
      for (int64_t r = 0; r < count_; r += tile_rows_) {
        Output rows = out;
        rows.data = static_cast<char*>(out.data) + r * out.stride * out_bytes;
        row_of_quantized_tiles<Op>(static_cast<int>(height(r)), words_ + r * form_.chunks * kRowWords<Op>,
                                   static_cast<const char*>(weight), form_, group, rows);
      }
    }
  }

 private:
  int64_t height(int64_t r) const { return smaller(count_ - r, tile_rows_); }

  uint32_t* words_;
  int64_t count_, tile_rows_;
  QuantizedPanels form_;
};

}  // namespace matmul
}  // namespace mamba::cpu::MAMBA_ISA
