#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

// Marks a function that a GPU runs too.
#ifdef __CUDACC__
#define MAMBA_ANYWHERE __host__ __device__
#else
#define MAMBA_ANYWHERE
#endif

namespace mamba {

// The order is the wire format of the addon and of src/tensor/dtype.ts.
// The last four are codes (codes.h), of which only packed weights are made.
enum class DType : int32_t { f32 = 0, bf16 = 1, f16 = 2, i32 = 3, u8 = 4, i8 = 5, e4m3 = 6, u4 = 7, e2m1 = 8 };
inline constexpr int kDTypeCount = 9;

MAMBA_ANYWHERE inline constexpr int bits_of(DType t) {
  constexpr int bits[kDTypeCount] = {32, 16, 16, 32, 8, 8, 8, 4, 4};
  return bits[static_cast<int>(t)];
}
// Bytes of an element, of a type that has whole bytes.
inline constexpr size_t size_of(DType t) { return static_cast<size_t>(bits_of(t)) / 8; }

inline constexpr const char* name_of(DType t) {
  constexpr const char* names[kDTypeCount] = {"f32", "bf16", "f16", "i32", "u8", "i8", "e4m3", "u4", "e2m1"};
  return names[static_cast<int>(t)];
}

inline constexpr bool is_float(DType t) { return t == DType::f32 || t == DType::bf16 || t == DType::f16; }
inline constexpr bool is_code(DType t) { return t >= DType::i8; }

// 16-bit floats as storage only; arithmetic is done in float.
struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

inline float to_float(f16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t exponent = (x.bits >> 10) & 0x1fu, mantissa = x.bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // zero and subnormals
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

// Round to nearest even; NaN stays NaN.
inline bf16 to_bf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

inline f16 to_f16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // rounds to 65536 or is infinite
  if (magnitude < 0x38800000u) {  // subnormal: let the float adder round at the 2^-24 position
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

template <class T>
T from_float(float x);
template <>
inline float from_float<float>(float x) {
  return x;
}
template <>
inline bf16 from_float<bf16>(float x) {
  return to_bf16(x);
}
template <>
inline f16 from_float<f16>(float x) {
  return to_f16(x);
}

}  // namespace mamba
