#pragma once
// The portable set: one float per "register". What a machine without AVX2 runs, and the plainest reading of F32.
#include <stdint.h>

#define MAMBA_ISA scalar

namespace mamba::cpu::MAMBA_ISA {

struct F32 {
  static constexpr int lanes = 1;
  float v;
};

inline F32 zero() { return {0.0f}; }
inline F32 set(float x) { return {x}; }
inline F32 load(const float* p) { return {*p}; }
inline void store(float* p, F32 a) { *p = a.v; }
inline F32 load_partial(const float* p, int n) { return {n > 0 ? *p : 0.0f}; }
inline void store_partial(float* p, F32 a, int n) {
  if (n > 0) *p = a.v;
}

inline float bits_to_float(uint32_t u) {
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
inline uint32_t float_to_bits(float f) {
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  return u;
}

inline F32 load(const bf16* p) { return {bits_to_float(static_cast<uint32_t>(p->bits) << 16)}; }
inline void store(bf16* p, F32 a) {
  const uint32_t u = float_to_bits(a.v);
  const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
  p->bits = static_cast<uint16_t>(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
inline F32 load(const f16* p) {
  const uint32_t sign = static_cast<uint32_t>(p->bits & 0x8000u) << 16;
  const uint32_t exponent = (p->bits >> 10) & 0x1fu, mantissa = p->bits & 0x3ffu;
  if (exponent == 0x1f) return {bits_to_float(sign | 0x7f800000u | (mantissa << 13))};
  if (exponent != 0) return {bits_to_float(sign | ((exponent + 112) << 23) | (mantissa << 13))};
  return {bits_to_float(sign | float_to_bits(static_cast<float>(mantissa) * 0x1p-24f))};
}
inline void store(f16* p, F32 a) {
  const uint32_t u = float_to_bits(a.v), sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {
    half = float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  }
  p->bits = static_cast<uint16_t>(sign | half);
}
template <class T>
inline F32 load_partial(const T* p, int n) {
  return n > 0 ? load(p) : zero();
}
template <class T>
inline void store_partial(T* p, F32 a, int n) {
  if (n > 0) store(p, a);
}

inline F32 operator+(F32 a, F32 b) { return {a.v + b.v}; }
inline F32 operator-(F32 a, F32 b) { return {a.v - b.v}; }
inline F32 operator*(F32 a, F32 b) { return {a.v * b.v}; }
inline F32 operator/(F32 a, F32 b) { return {a.v / b.v}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {a.v * b.v + c.v}; }  // a b + c
inline F32 min(F32 a, F32 b) { return {a.v < b.v ? a.v : b.v}; }
inline F32 max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }
inline float sum(F32 a) { return a.v; }
inline float reduce_max(F32 a) { return a.v; }
inline F32 round(F32 a) { return {__builtin_rintf(a.v)}; }
// 2^n for integral n in [-126, 127].
inline F32 exp2_int(F32 n) { return {bits_to_float(static_cast<uint32_t>(static_cast<int32_t>(n.v) + 127) << 23)}; }
// a 2^n for integral n in [-252, 254]; two factors, because 2^128 is not a float.
inline F32 scale_exp2(F32 a, F32 n) {
  const F32 half = round(n * set(0.5f));
  return a * exp2_int(half) * exp2_int(n - half);
}
// Both operands' comparison as a select: a < b ? x : y.
inline F32 select_less(F32 a, F32 b, F32 x, F32 y) { return {a.v < b.v ? x.v : y.v}; }
// A word: an integer, or two of 16 bits, or what such pairs are taken from.
struct I32 {
  uint32_t v;
};
inline I32 load_i32(const void* p) {
  I32 a;
  __builtin_memcpy(&a, p, 4);
  return a;
}
inline I32 set_i32(uint32_t x) { return {x}; }
inline F32 to_floats(I32 a) { return {static_cast<float>(static_cast<int32_t>(a.v))}; }
inline int32_t low_half(uint32_t pair) { return static_cast<int16_t>(pair); }
inline int32_t high_half(uint32_t pair) { return static_cast<int16_t>(pair >> 16); }
inline I32 pair_of(int32_t low, int32_t high) {
  return {(static_cast<uint32_t>(low) & 0xffffu) | static_cast<uint32_t>(high) << 16};
}
// The signed low, or high, byte of each 16 bits.
inline I32 low_bytes(I32 a) { return pair_of(static_cast<int8_t>(a.v), static_cast<int8_t>(a.v >> 16)); }
inline I32 high_bytes(I32 a) { return pair_of(low_half(a.v) >> 8, high_half(a.v) >> 8); }
// The i-th four bits of each 16.
inline I32 nibbles(I32 a, int i) { return {a.v >> (4 * i) & 0x000f000fu}; }
// sum + a0 b0 + a1 b1 of pairs.
inline I32 add_products(I32 a, I32 b, I32 sum) {
  const int32_t products = low_half(a.v) * low_half(b.v) + high_half(a.v) * high_half(b.v);
  return {sum.v + static_cast<uint32_t>(products)};
}
// A whole number, as 16 bits.
inline void store_int16(int16_t* p, F32 a) { *p = static_cast<int16_t>(a.v); }
// A code of e4m3, 2^-8 of what it means.
inline F32 load_e4m3(const uint8_t* p) {
  const uint32_t sign = (*p & 0x80u) << 24, exponent = *p >> 3 & 15u, mantissa = *p & 7u;
  if (exponent != 0) return {bits_to_float(sign | (exponent + 112) << 23 | mantissa << 20)};
  return {bits_to_float(sign | float_to_bits(static_cast<float>(mantissa) * 0x1p-17f))};
}

// A square block of registers: element j of register i becomes element i of register j.
inline void transpose(F32 (&)[1]) {}

}  // namespace mamba::cpu::MAMBA_ISA
