#pragma once
// Runs of elements whose length is no multiple of a register, and dispatch on element types.
#include "cpu/kernels.h"
#include "cpu/simd/math.inl"

namespace mamba::cpu::MAMBA_ISA {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// A whole register, as the number of elements to load or store: known when compiling, unlike an int.
struct AllLanes {
  constexpr operator int() const { return F32::lanes; }
};

template <class T>
inline F32 load_n(const T* p, AllLanes) {
  return load(p);
}
template <class T>
inline F32 load_n(const T* p, int n) {
  return load_partial(p, n);
}
template <class T>
inline void store_n(T* p, F32 a, AllLanes) {
  store(p, a);
}
template <class T>
inline void store_n(T* p, F32 a, int n) {
  store_partial(p, a, n);
}

// f(i, n) for all of [begin, end), a register at a time; n is AllLanes but for a shorter rest.
template <class F>
inline void for_lanes(int64_t begin, int64_t end, F f) {
  for (; begin + F32::lanes <= end; begin += F32::lanes) f(begin, AllLanes());
  if (begin < end) f(begin, static_cast<int>(end - begin));
}

template <class T, class Count>
inline F32 load_strided(const T* p, int64_t stride, Count n) {
  if (stride == 1) return load_n(p, n);
  if (stride == 0) return set(sum(load_partial(p, 1)));
  T run[F32::lanes] = {};
  for (int i = 0; i < n; ++i) run[i] = p[i * stride];
  return load(run);
}

template <class T>
inline void store_zeros(T* p, int64_t n) {
  for_lanes(0, n, [&](int64_t i, auto count) { store_n(p + i, zero(), count); });
}

// f(element of the type).
template <class F>
inline void with_float_type(DType type, F f) {
  switch (type) {
    case DType::f32:
      return f(float());
    case DType::bf16:
      return f(bf16());
    default:
      return f(f16());
  }
}

// The slot a row or sequence may use, or -1 for padding. A number outside of the pool counts as padding, so that no
// mistake above can write to foreign memory.
inline int64_t valid_slot(int32_t slot, int64_t slots_in_pool) { return slot < slots_in_pool ? slot : -1; }

}  // namespace mamba::cpu::MAMBA_ISA
