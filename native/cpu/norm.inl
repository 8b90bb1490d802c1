// rms_norm, gated_rms_norm and the two halves of a norm that several ranks take, for a range of rows.
//
// Idea. Two passes over a row: the first makes the values to be normed and sums their squares, the second scales them.
// The values stay where they are cheapest to read again: in x (no residual), in the residual (already rounded to its
// type, so the norm is of what the next layer reads), or as floats in `scratch` (the gated product, so that its silu is
// computed once; it is the bulk of the work).
//
// Mapping. Vectors run along the row. The order of the sum depends on the width only.
//
// Bound. Memory: one read of x, gate and residual, one write of residual and out; the second pass reads L1 or L2.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace norm {

inline F32 inverse_rms(F32 squares, int64_t width, float eps) {
  return set(1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(width) + eps));
}

// out = v * scale * weight over one row or group.
template <class V, class O>
inline void scale_row(const V* v, F32 scale, const float* weight, O* out, int64_t width) {
  for_lanes(0, width,
            [&](int64_t c, auto n) { store_n(out + c, load_n(v + c, n) * scale * load_n(weight + c, n), n); });
}

template <class T, class O>
void plain(const RmsNormParams& p, Range rows) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const T* x = static_cast<const T*>(p.x) + r * p.x_stride;
    F32 squares = zero();
    for_lanes(0, p.width, [&](int64_t c, auto n) {
      const F32 v = load_n(x + c, n);
      squares = fma(v, v, squares);
    });
    scale_row(x, inverse_rms(squares, p.width, p.eps), p.weight, static_cast<O*>(p.out) + r * p.width, p.width);
  }
}

template <class T, class R, class O>
void with_residual(const RmsNormParams& p, Range rows) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const T* x = static_cast<const T*>(p.x) + r * p.x_stride;
    R* residual = static_cast<R*>(p.residual) + r * p.width;
    F32 squares = zero();
    for_lanes(0, p.width, [&](int64_t c, auto n) {
      store_n(residual + c, load_n(residual + c, n) + load_n(x + c, n), n);
      const F32 v = load_n(residual + c, n);  // as rounded
      squares = fma(v, v, squares);
    });
    scale_row(residual, inverse_rms(squares, p.width, p.eps), p.weight, static_cast<O*>(p.out) + r * p.width, p.width);
  }
}

// `product` holds group_size floats: what is normed, or the gate's factors.
template <class T>
void gated(const GatedRmsNormParams& p, Range rows, float* product) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    for (int64_t first = 0; first < p.width; first += p.group_size) {
      const T* x = static_cast<const T*>(p.x) + r * p.x_stride + first;
      const T* gate = static_cast<const T*>(p.gate) + r * p.gate_stride + first;
      F32 squares = zero();
      for_lanes(0, p.group_size, [&](int64_t c, auto n) {
        const F32 z = silu(load_n(gate + c, n)), v = p.norm_before_gate ? load_n(x + c, n) : load_n(x + c, n) * z;
        store_n(product + c, p.norm_before_gate ? z : v, n);
        squares = fma(v, v, squares);
      });
      T* out = static_cast<T*>(p.out) + r * p.width + first;
      const F32 scale = inverse_rms(squares, p.group_size, p.eps);
      const float* weight = p.weight + first;
      if (!p.norm_before_gate) {
        scale_row(product, scale, weight, out, p.group_size);
        continue;
      }
      for_lanes(0, p.group_size, [&](int64_t c, auto n) {
        store_n(out + c, load_n(x + c, n) * scale * load_n(weight + c, n) * load_n(product + c, n), n);
      });
    }
  }
}

// body(group, channels [begin, end) of this rank) for each group that it has channels of.
template <class P, class Body>
inline void for_groups(const P& p, Body&& body) {
  for (int64_t begin = 0; begin < p.width;) {
    const int64_t group = (p.first + begin) / p.group_size, left = (group + 1) * p.group_size - p.first;
    const int64_t end = left < p.width ? left : p.width;
    body(group, begin, end);
    begin = end;
  }
}

template <class T>
void square_sums(const SquareSumsParams& p, Range rows) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const T* x = static_cast<const T*>(p.x) + r * p.x_stride;
    float* sums = p.sums + r * p.groups;
    for (int64_t g = 0; g < p.groups; ++g) sums[g] = 0.0f;
    for_groups(p, [&](int64_t group, int64_t begin, int64_t end) {
      F32 squares = zero();
      for_lanes(begin, end, [&](int64_t c, auto n) {
        const F32 v = load_n(x + c, n);
        squares = fma(v, v, squares);
      });
      sums[group] = sum(squares);
    });
  }
}

template <class T>
void of_sums(const RmsNormOfSumsParams& p, Range rows) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const T* x = static_cast<const T*>(p.x) + r * p.x_stride;
    T* out = static_cast<T*>(p.out) + r * p.out_stride;
    for_groups(p, [&](int64_t group, int64_t begin, int64_t end) {
      const float mean = p.sums[r * p.groups + group] / static_cast<float>(p.group_size);
      const F32 scale = set(1.0f / __builtin_sqrtf(mean + p.eps));
      scale_row(x + begin, scale, p.weight + begin, out + begin, end - begin);
    });
  }
}

}  // namespace norm

inline void rms_norm(const RmsNormParams& p, Range rows) {
  with_float_type(p.x_dtype, [&](auto t) {
    with_float_type(p.out_dtype, [&](auto o) {
      if (!p.residual) return norm::plain<decltype(t), decltype(o)>(p, rows);
      with_float_type(p.residual_dtype,
                      [&](auto r) { norm::with_residual<decltype(t), decltype(r), decltype(o)>(p, rows); });
    });
  });
}

// `scratch` holds group_size floats.
inline void gated_rms_norm(const GatedRmsNormParams& p, Range rows, void* scratch) {
  with_float_type(p.dtype, [&](auto t) { norm::gated<decltype(t)>(p, rows, static_cast<float*>(scratch)); });
}

inline void square_sums(const SquareSumsParams& p, Range rows) {
  with_float_type(p.dtype, [&](auto t) { norm::square_sums<decltype(t)>(p, rows); });
}

inline void rms_norm_of_sums(const RmsNormOfSumsParams& p, Range rows) {
  with_float_type(p.dtype, [&](auto t) { norm::of_sums<decltype(t)>(p, rows); });
}

}  // namespace mamba::cpu::MAMBA_ISA
