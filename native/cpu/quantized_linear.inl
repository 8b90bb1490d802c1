// linear of a weight of codes (core/codes.h), for one block of rows and columns.
//
// Idea. linear.inl's register tile over other operands. Integer codes meet x as integers of 16 bits with a scale for
// each 32 of a row, which lose less of x than bf16 does; products are exact in 32 bits, and become floats, times both
// scales, once for each 32 of k (16 if a group has no more). e4m3 is widened to floats.
//
// Layout. A panel of 32 columns is [groups] of their scales, 128 bytes, and then their codes; k is padded with zeros to
// whole chunks of 32.
//   i8, e2m1  scales f32; words of a column with the codes of four of k, (k, k + 2) in the low half, (k + 1, k + 3) in
//             the high one: shifts of 16 bits give pairs. e2m1 is stored as i8 that mean twice as much.
//   u4        scales f16, offsets f16; words of eight of k: even ones in the low half, odd ones in the high half.
//   e4m3      scales f32, times 2^8 (load_e4m3); [k][32] bytes.
//   x tile    [chunks] of [R][16] words of pairs, then R scales and R sums, as floats; of [R][32] floats for e4m3.
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

struct Integers {
  using Sum = I32;
  static constexpr int row_words = kQuantizedChunk / 2;  // of x in a chunk
  static constexpr int column_bytes = 4;                 // of a step
  static I32 load(const char* at) { return load_i32(at); }
  static I32 add(const uint32_t* x, I32 codes, I32 sum) { return add_products(codes, set_i32(*x), sum); }
  static I32 none() { return set_i32(0); }
  static F32 value(I32 sum) { return to_floats(sum); }
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

struct FmaE4m3 {
  using Sum = F32;
  static constexpr int row_words = kQuantizedChunk, column_bytes = 1;
  static constexpr int steps = kQuantizedChunk, terms = 1;
  static constexpr bool offsets = false;
  static F32 load(const char* at) { return load_e4m3(reinterpret_cast<const uint8_t*>(at)); }
  static F32 term(F32 codes, int) { return codes; }
  static F32 add(const uint32_t* x, F32 codes, F32 sum) { return fma(broadcast(x), codes, sum); }
  static F32 none() { return zero(); }
  static F32 value(F32 sum) { return sum; }
};

template <class Op>
inline constexpr bool kIntegers = Op::row_words == kQuantizedChunk / 2;

// Words of a chunk of one row of x, its scale and sum included.
template <class Op>
inline constexpr int kRowWords = Op::row_words + (kIntegers<Op> ? 2 : 0);

// R rows x kQuantizedVectors<R> vectors of columns from columns.begin on; those past columns.end are not stored.
template <class Op, int R>
void quantized_tile(const uint32_t* x, const char* weight, const QuantizedPanels& form, Range columns,
                    const Output& out) {
  constexpr int V = kQuantizedVectors<R>, L = F32::lanes;
  constexpr int P = V * L > kPanel ? V * L / kPanel : 1;
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
    const auto* x_scales = reinterpret_cast<const float*>(x + R * Op::row_words);
    const uint32_t* word = x;
    for (int64_t run = 0; run < form.runs; ++run) {
      if (left == 0) {
        scales = offset, left = form.group_runs;
        offset += kScalesBytes;
      }
      --left;
      typename Op::Sum sum[R][V];
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) sum[r][v] = Op::none();
      }
      for (int64_t s = 0; s < steps; ++s, offset += kPanel * Op::column_bytes) {
        decltype(Op::load(nullptr)) codes[V];
        for (int v = 0; v < V; ++v) {
          codes[v] = Op::load(panel[v * L / kPanel] + offset + (column + v * L % kPanel) * Op::column_bytes);
        }
        for (int i = 0; i < Op::terms; ++i, ++word) {
          for (int v = 0; v < V; ++v) {
            const auto term = Op::term(codes[v], i);
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

template <class Op, int R = kMaxRows>
void row_of_quantized_tiles(int height, const uint32_t* x, const char* weight, const QuantizedPanels& form,
                            Range columns, const Output& out) {
  if constexpr (R > 1) {
    if (height < R) return row_of_quantized_tiles<Op, R - 1>(height, x, weight, form, columns, out);
  }
  for (; columns.begin < columns.end; columns.begin += kQuantizedVectors<R> * F32::lanes) {
    quantized_tile<Op, R>(x, weight, form, columns, out);
  }
}

// 32 elements of x as integers, with their scale and the sum of what they stand for. What is no number makes the scale
// none.
inline void quantize_chunk(uint32_t* words, float* scale, float* total, const float* x) {
  F32 most = zero(), check = zero();
  for (int i = 0; i < kQuantizedChunk; i += F32::lanes) {
    const F32 value = load(x + i);
    most = max(most, max(value, zero() - value));
    check = fma(value, zero(), check);
  }
  const float magnitude = reduce_max(most);
  const F32 factor = set(magnitude > 1e-30f ? 32767.0f / magnitude : 0.0f);
  int16_t integers[kQuantizedChunk];
  F32 all = zero();
  for (int i = 0; i < kQuantizedChunk; i += F32::lanes) {
    const F32 value = round(load(x + i) * factor);
    store_int16(integers + i, value);
    all = all + value;
  }
  __builtin_memcpy(words, integers, sizeof integers);
  *scale = magnitude * (1.0f / 32767.0f) + sum(check);
  *total = sum(all) * *scale;
}

// The same interface as Block.
template <class Op, class T>
class QuantizedBlock {
 public:
  using Element = T;

  template <class Row>
  QuantizedBlock(void* scratch, int64_t count, const WeightForm& weight, Row row)
      : words_(static_cast<uint32_t*>(scratch)),
        count_(count),
        tile_rows_(tile_rows_of(count)),
        form_(quantized_panels(weight.k, weight.dtype, weight.group)) {
    for (int64_t r = 0; r < count; r += tile_rows_) {
      const int64_t rows = height(r);
      uint32_t* chunk = words_ + r * form_.chunks * kRowWords<Op>;
      for (int64_t k = 0; k < weight.k; k += kQuantizedChunk, chunk += rows * kRowWords<Op>) {
        auto* scales = reinterpret_cast<float*>(chunk + rows * Op::row_words);
        for (int64_t i = 0; i < rows; ++i) {
          float values[kQuantizedChunk] = {};
          convert(values, row(r + i) + k, static_cast<int>(smaller(kQuantizedChunk, weight.k - k)));
          uint32_t* to = chunk + i * Op::row_words;
          if constexpr (kIntegers<Op>) {
            quantize_chunk(to, scales + i, scales + rows + i, values);
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
