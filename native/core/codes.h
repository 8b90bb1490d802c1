#pragma once
// Quantized weights: codes of few bits, of which each `group` of a row, one after the other, shares a scale and, for
// u4, an offset. A value is scale * meaning(code) + offset. The last group of a row may be shorter.
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace mamba {

// What the codes of a type mean: i8 an integer of [-127, 127], u4 one of [0, 15]; e4m3 sign, four bits of exponent
// (bias 7) and three of mantissa; e2m1 sign, two bits of exponent (bias 1) and one of mantissa.
inline constexpr std::array<float, 16> kE2m1 = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

// NaN (0x7f) reads as 480: a weight that holds one is broken anyway.
MAMBA_ANYWHERE inline float meaning_of_e4m3(uint8_t code) {
  const uint32_t exponent = code >> 3 & 15u, mantissa = code & 7u;
  const float magnitude = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-9f
                                        : __builtin_bit_cast(float, (exponent + 120u) << 23 | mantissa << 20);
  return code & 0x80u ? -magnitude : magnitude;
}

// Bytes of `count` codes of a row. A byte holds two of four bits, the first one in its low half.
MAMBA_ANYWHERE inline constexpr int64_t code_bytes(DType type, int64_t count) {
  return (count * bits_of(type) + 7) / 8;
}

inline float meaning_of(DType type, const uint8_t* codes, int64_t i) {
  if (type == DType::i8) return static_cast<float>(static_cast<int8_t>(codes[i]));
  if (type == DType::e4m3) return meaning_of_e4m3(codes[i]);
  const uint32_t nibble = codes[i / 2] >> (i % 2 * 4) & 15u;
  return type == DType::u4 ? static_cast<float>(nibble) : kE2m1[nibble];
}

MAMBA_ANYWHERE inline constexpr int64_t groups_of(int64_t k, int64_t group) { return (k + group - 1) / group; }

// Round to nearest even, 448 at most.
MAMBA_ANYWHERE inline uint8_t to_e4m3(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x), sign = bits >> 24 & 0x80u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) return static_cast<uint8_t>(sign | 0x7eu);
  if (magnitude < 0x3c800000u) {  // below 2^-6: the float adder rounds at the 2^-9 position
    const float shifted = __builtin_bit_cast(float, magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (__builtin_bit_cast(uint32_t, shifted) - 0x46800000u));
  }
  return static_cast<uint8_t>(sign | ((magnitude + 0x7ffffu + (magnitude >> 20 & 1u) - 0x3c000000u) >> 20));
}

// The nearest value of f16.
MAMBA_ANYWHERE inline float as_f16(float x) {
#ifdef __CUDA_ARCH__
  float nearest;
  asm("{\n.reg .b16 half;\ncvt.rn.f16.f32 half, %1;\ncvt.f32.f16 %0, half;\n}" : "=f"(nearest) : "f"(x));
  return nearest;
#else
  return to_float(to_f16(x));
#endif
}

// What a group shares; an offset only in u4, where both are values of f16: what codes are chosen for is what is kept.
struct GroupScale {
  float scale, offset = 0;
};

MAMBA_ANYWHERE inline uint8_t code_of(DType type, float value, GroupScale by) {
  const float code = by.scale > 0 ? (value - by.offset) / by.scale : 0;
  if (type == DType::e4m3) return to_e4m3(code);
  const float least = type == DType::u4 ? 0.0f : -127.0f, most = type == DType::u4 ? 15.0f : 127.0f;
  return static_cast<uint8_t>(static_cast<int>(nearbyintf(fminf(fmaxf(code, least), most))));
}

// By the range of the values.
MAMBA_ANYWHERE inline GroupScale range_scale(DType type, const float* values, int64_t count) {
  float least = values[0], most = values[0];
  for (int64_t i = 1; i < count; ++i) {
    least = values[i] < least ? values[i] : least;
    most = values[i] > most ? values[i] : most;
  }
  if (type != DType::u4) return {fmaxf(-least, most) / (type == DType::i8 ? 127.0f : 448.0f)};
  const float offset = as_f16(least);
  return {as_f16((most - offset) / 15), offset};
}

// Sum of squares of what codes are off by.
MAMBA_ANYWHERE inline float error_of(DType type, const float* values, int64_t count, GroupScale by) {
  float error = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t code = code_of(type, values[i], by);
    const float meaning = type == DType::e4m3 ? meaning_of_e4m3(code) : static_cast<float>(code);
    const float off = by.scale * meaning + by.offset - values[i];
    error += off * off;
  }
  return error;
}

// The line through what the codes of a trial stand for (least squares); a scale of 0 where there is none.
MAMBA_ANYWHERE inline GroupScale line_through(const float* values, int64_t count, GroupScale trial) {
  float codes = 0, squares = 0, sum = 0, products = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto code = static_cast<float>(code_of(DType::u4, values[i], trial));
    codes += code, squares += code * code, sum += values[i], products += code * values[i];
  }
  const auto n = static_cast<float>(count);
  const float spread = n * squares - codes * codes;
  if (!(spread > 0)) return {0};
  const float scale = as_f16((n * products - codes * sum) / spread);
  return {scale, as_f16((sum - scale * codes) / n)};
}

// i8: by the range. e4m3: the same or up to twice that, since its steps double at powers of two. u4, of whose few codes
// those at the ends of a range are dear: lines through the codes of ranges a little larger and smaller. Of these the
// one with the least error.
MAMBA_ANYWHERE inline GroupScale chosen_scale(DType type, const float* values, int64_t count) {
  const GroupScale range = range_scale(type, values, count);
  if (type == DType::i8 || !(range.scale > 0)) return range;
  GroupScale best = range;
  float least = error_of(type, values, count, range);
  const int first = type == DType::u4 ? -5 : 1, last = type == DType::u4 ? 5 : 7;
  for (int step = first; step <= last; ++step) {
    const auto s = static_cast<float>(step);
    const GroupScale trial = type == DType::u4
                                 ? line_through(values, count, {range.scale * 15 / (15 + 0.2f * s), range.offset})
                                 : GroupScale{range.scale * (1 + s / 8)};
    if (!(trial.scale > 0)) continue;
    const float error = error_of(type, values, count, trial);
    if (error < least) best = trial, least = error;
  }
  return best;
}

// A row of k floats as codes (i8, u4 or e4m3), with the scale and, for u4, the offset of each group.
MAMBA_ANYWHERE inline void quantize_row(const float* row, int64_t k, int64_t group, DType type, uint8_t* codes,
                                        float* scales, float* offsets) {
  for (int64_t first = 0; first < k; first += group, ++scales) {
    const int64_t end = first + group < k ? first + group : k;
    const GroupScale by = chosen_scale(type, row + first, end - first);
    *scales = by.scale;
    if (type == DType::u4) *offsets++ = by.offset;
    for (int64_t i = first; i < end; ++i) {
      const uint8_t code = code_of(type, row[i], by);
      if (bits_of(type) == 8) {
        codes[i] = code;
      } else if (i % 2 == 0) {
        codes[i / 2] = code;
      } else {
        codes[i / 2] = static_cast<uint8_t>(codes[i / 2] | code << 4);
      }
    }
  }
}

}  // namespace mamba
