// grouped_linear, for a block of rows of one expert and columns of out.
//
// Idea. linear's block (linear.inl), whose rows of x are gathered as they are copied. An activation is applied to the
// products as floats, from scratch: they are a small part of the work, and still in L1 or L2.
//
// Layout. Scratch: the block's rows of x, then products [rows][columns], and for a gate those of the up-projection
// behind them. Those begin at the panel that holds the first one, because tiles do.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace grouped {

// out = f(gate) up over a run of columns; up may be null.
template <class Function, class O>
inline void activate(const float* gate, const float* up, O* out, int64_t width) {
  for_lanes(0, width, [&](int64_t c, auto n) {
    const F32 value = Function::of(load_n(gate + c, n));
    store_n(out + c, up ? value * load_n(up + c, n) : value, n);
  });
}

template <class Product>
inline void activated(const GroupedLinearParams& p, const void* weight, Range rows, Range columns, float* products,
                      const Product& block) {
  const int64_t count = rows.end - rows.begin, width = columns.end - columns.begin;
  block.multiply(weight, columns, {products - columns.begin, width, nullptr, 1.0f, DType::f32, /*accumulate=*/false});
  float* ups = products + count * width;
  const int64_t first = (p.n / 2 + columns.begin) / kPanelColumns * kPanelColumns, end = p.n / 2 + columns.end;
  const int64_t ups_width = end - first;
  if (p.gated) {
    block.multiply(weight, {first, end}, {ups - first, ups_width, nullptr, 1.0f, DType::f32, /*accumulate=*/false});
  }
  pointwise::with_activation(p.activation, [&](auto function) {
    with_float_type(p.out_dtype, [&](auto o) {
      using O = decltype(o);
      for (int64_t r = 0; r < count; ++r) {
        const float* up = p.gated ? ups + r * ups_width + (p.n / 2 + columns.begin - first) : nullptr;
        O* out = static_cast<O*>(p.out) + (rows.begin + r) * p.out_stride + columns.begin;
        activate<decltype(function)>(products + r * width, up, out, width);
      }
    });
  });
}

}  // namespace grouped

inline void grouped_linear(const GroupedLinearParams& p, const void* weight, Range rows, Range columns, void* scratch) {
  const int64_t count = rows.end - rows.begin;
  matmul::with_operands(p.x_dtype, p.weight_dtype, [&]<class Block>() {
    const auto* x = static_cast<const typename Block::Element*>(p.x);
    const Block block(scratch, /*filled=*/false, count, {p.k, p.weight_dtype, p.weight_group}, [&](int64_t r) {
      const int64_t row = p.row_token ? p.row_token[rows.begin + r] : rows.begin + r;
      return x + (row >= 0 && row < p.x_rows ? row : 0) * p.x_stride;  // no mistake above reads foreign memory
    });
    if (p.activation == Activation::identity && !p.gated) {
      const int64_t out_bytes = p.out_dtype == DType::f32 ? 4 : 2;
      char* data = static_cast<char*>(p.out) + rows.begin * p.out_stride * out_bytes;
      block.multiply(weight, columns, {data, p.out_stride, nullptr, 1.0f, p.out_dtype, /*accumulate=*/false});
    } else {
      auto* products = reinterpret_cast<float*>(static_cast<char*>(scratch) + linear_scratch_bytes(count, p.k));
      grouped::activated(p, weight, rows, columns, products, block);
    }
  });
}

}  // namespace mamba::cpu::MAMBA_ISA
