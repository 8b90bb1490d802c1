// moe_combine, for a range of tokens.
//
// Idea. A vector of columns stays in a register while the rows of the token's experts are added to it, in the order of
// its pairs: the bits do not depend on other tokens. Bound. Memory: a read of each pair's row.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace moe {

template <class T, class O>
inline void combine_token(const MoeCombineParams& p, int64_t token, O* out) {
  const float* weights = p.weights + token * p.k;
  const int32_t* positions = p.positions + token * p.k;
  const F32 alpha = set(p.alpha);
  for_lanes(0, p.width, [&](int64_t c, auto n) {
    F32 total = zero();
    for (int64_t j = 0; j < p.k; ++j) {
      const int64_t row = positions[j];
      if (row < 0 || row >= p.rows) continue;
      total = fma(set(weights[j]), load_n(static_cast<const T*>(p.y) + row * p.y_stride + c, n), total);
    }
    store_n(out + c, p.accumulate ? fma(alpha, total, load_n(out + c, n)) : alpha * total, n);
  });
}

}  // namespace moe

inline void moe_combine(const MoeCombineParams& p, Range tokens) {
  with_float_type(p.y_dtype, [&](auto t) {
    with_float_type(p.out_dtype, [&](auto o) {
      using O = decltype(o);
      for (int64_t row = tokens.begin; row < tokens.end; ++row) {
        moe::combine_token<decltype(t), O>(p, row, static_cast<O*>(p.out) + row * p.out_stride);
      }
    });
  });
}

}  // namespace mamba::cpu::MAMBA_ISA
