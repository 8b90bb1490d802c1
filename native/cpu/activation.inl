// activation and scale, for a range of rows.
//
// Idea. One pass; in floats, rounded once. Mapping: vectors run along the row. Bound. Memory: one read of each operand,
// one write of out; an exponential costs about as much as its bytes from memory.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace pointwise {

struct Identity {
  static F32 of(F32 x) { return x; }
};
struct Silu {
  static F32 of(F32 x) { return silu(x); }
};
struct Gelu {
  static F32 of(F32 x) { return gelu(x); }
};
struct GeluTanh {
  static F32 of(F32 x) { return gelu_tanh(x); }
};
struct Relu2 {
  static F32 of(F32 x) { return relu2(x); }
};
struct Sigmoid {
  static F32 of(F32 x) { return sigmoid(x); }
};

// f(type whose of() is the function).
template <class F>
inline void with_activation(Activation activation, F f) {
  switch (activation) {
    case Activation::identity:
      return f(Identity());
    case Activation::silu:
      return f(Silu());
    case Activation::gelu:
      return f(Gelu());
    case Activation::gelu_tanh:
      return f(GeluTanh());
    case Activation::relu2:
      return f(Relu2());
    default:
      return f(Sigmoid());
  }
}

template <class Function, class T, class O>
inline void activate_row(const ActivationParams& p, const T* x, const T* up, O* out) {
  const F32 factor = set(p.scale);
  if (!up) {
    for_lanes(0, p.width, [&](int64_t c, auto n) { store_n(out + c, Function::of(load_n(x + c, n) * factor), n); });
  } else if (p.broadcast) {
    const F32 gate = Function::of(set(sum(load_n(x, 1))) * factor);
    for_lanes(0, p.width, [&](int64_t c, auto n) { store_n(out + c, gate * load_n(up + c, n), n); });
  } else {
    for_lanes(0, p.width, [&](int64_t c, auto n) {
      store_n(out + c, Function::of(load_n(x + c, n) * factor) * load_n(up + c, n), n);
    });
  }
}

template <class T, class O>
inline void scale_row(const ScaleParams& p, const T* x, O* out) {
  const F32 factor = set(p.alpha);
  for_lanes(0, p.width, [&](int64_t c, auto n) {
    store_n(out + c, p.accumulate ? fma(load_n(x + c, n), factor, load_n(out + c, n)) : load_n(x + c, n) * factor, n);
  });
}

}  // namespace pointwise

inline void activation(const ActivationParams& p, Range rows) {
  pointwise::with_activation(p.activation, [&](auto function) {
    with_float_type(p.x_dtype, [&](auto t) {
      with_float_type(p.out_dtype, [&](auto o) {
        using T = decltype(t);
        using O = decltype(o);
        for (int64_t r = rows.begin; r < rows.end; ++r) {
          pointwise::activate_row<decltype(function), T, O>(
              p, static_cast<const T*>(p.x) + r * p.x_stride,
              p.up ? static_cast<const T*>(p.up) + r * p.up_stride : nullptr,
              static_cast<O*>(p.out) + r * p.out_stride);
        }
      });
    });
  });
}

inline void scale(const ScaleParams& p, Range rows) {
  with_float_type(p.x_dtype, [&](auto t) {
    with_float_type(p.out_dtype, [&](auto o) {
      using T = decltype(t);
      using O = decltype(o);
      for (int64_t r = rows.begin; r < rows.end; ++r) {
        pointwise::scale_row(p, static_cast<const T*>(p.x) + r * p.x_stride, static_cast<O*>(p.out) + r * p.out_stride);
      }
    });
  });
}

}  // namespace mamba::cpu::MAMBA_ISA
