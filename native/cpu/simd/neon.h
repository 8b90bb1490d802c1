#pragma once
// NEON (Advanced SIMD) of every 64-bit ARM processor: four floats per register, 32 registers.
#include <arm_neon.h>
#include <stdint.h>

#define MAMBA_ISA neon

namespace mamba::cpu::MAMBA_ISA {

struct F32 {
  static constexpr int lanes = 4;
  float32x4_t v;
};

inline F32 zero() { return {vdupq_n_f32(0.0f)}; }
inline F32 set(float x) { return {vdupq_n_f32(x)}; }
inline F32 load(const float* p) { return {vld1q_f32(p)}; }
inline void store(float* p, F32 a) { vst1q_f32(p, a.v); }

inline F32 load(const bf16* p) {
  const uint16x4_t h = vld1_u16(reinterpret_cast<const uint16_t*>(p));
  return {vreinterpretq_f32_u32(vshll_n_u16(h, 16))};
}
inline void store(bf16* p, F32 a) {
  const uint32x4_t u = vreinterpretq_u32_f32(a.v), high = vshrq_n_u32(u, 16);
  const uint32x4_t odd = vandq_u32(high, vdupq_n_u32(1));
  const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd), 16);
  const uint32x4_t r = vbslq_u32(vceqq_f32(a.v, a.v), rounded, vorrq_u32(high, vdupq_n_u32(0x40)));  // a NaN stays one
  vst1_u16(reinterpret_cast<uint16_t*>(p), vmovn_u32(r));
}
inline F32 load(const f16* p) {
  return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p))))};
}
inline void store(f16* p, F32 a) { vst1_u16(reinterpret_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(a.v))); }

// The first n elements, n in [0, lanes]; the rest reads as zero and is not written.
template <class T>
inline F32 load_partial(const T* p, int n) {
  T buffer[4] = {};
  for (int i = 0; i < n; ++i) buffer[i] = p[i];
  return load(buffer);
}
template <class T>
inline void store_partial(T* p, F32 a, int n) {
  T buffer[4];
  store(buffer, a);
  for (int i = 0; i < n; ++i) p[i] = buffer[i];
}

inline F32 operator+(F32 a, F32 b) { return {vaddq_f32(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {vsubq_f32(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {vmulq_f32(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {vdivq_f32(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline F32 select_less(F32 a, F32 b, F32 x, F32 y) { return {vbslq_f32(vcltq_f32(a.v, b.v), x.v, y.v)}; }
// A NaN and a number give the second operand, as in the other sets; FMIN and FMAX would give the NaN.
inline F32 min(F32 a, F32 b) { return select_less(a, b, a, b); }
inline F32 max(F32 a, F32 b) { return select_less(b, a, a, b); }
inline float sum(F32 a) {
  const float32x2_t s = vadd_f32(vget_low_f32(a.v), vget_high_f32(a.v));
  return vget_lane_f32(vpadd_f32(s, s), 0);
}
inline float reduce_max(F32 a) { return vmaxvq_f32(a.v); }
inline F32 round(F32 a) { return {vrndnq_f32(a.v)}; }
inline F32 exp2_int(F32 n) {
  return {vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n.v), vdupq_n_s32(127)), 23))};
}
inline F32 scale_exp2(F32 a, F32 n) {
  const F32 half = round(n * set(0.5f));
  return a * exp2_int(half) * exp2_int(n - half);
}

// As many words as there are floats: an integer, or two of 16 bits, or what such pairs are taken from.
struct I32 {
  int32x4_t v;
};
inline I32 load_i32(const void* p) { return {vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p)))}; }
inline I32 set_i32(uint32_t x) { return {vreinterpretq_s32_u32(vdupq_n_u32(x))}; }
inline F32 to_floats(I32 a) { return {vcvtq_f32_s32(a.v)}; }
// The signed low, or high, byte of each 16 bits.
inline I32 low_bytes(I32 a) {
  return {vreinterpretq_s32_s16(vshrq_n_s16(vshlq_n_s16(vreinterpretq_s16_s32(a.v), 8), 8))};
}
inline I32 high_bytes(I32 a) { return {vreinterpretq_s32_s16(vshrq_n_s16(vreinterpretq_s16_s32(a.v), 8))}; }
// The i-th four bits of each 16.
inline I32 nibbles(I32 a, int i) {
  const uint32x4_t shifted = vshlq_u32(vreinterpretq_u32_s32(a.v), vdupq_n_s32(-4 * i));
  return {vreinterpretq_s32_u32(vandq_u32(shifted, vdupq_n_u32(0x000f000f)))};
}
// sum + a0 b0 + a1 b1 of pairs.
inline I32 add_products(I32 a, I32 b, I32 sum) {
  const int16x8_t x = vreinterpretq_s16_s32(a.v), y = vreinterpretq_s16_s32(b.v);
  return {vaddq_s32(sum.v, vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y)))};
}
// Whole numbers, as 16 bits each.
inline void store_int16(int16_t* p, F32 a) { vst1_s16(p, vqmovn_s32(vcvtq_s32_f32(a.v))); }
// Codes of e4m3, 2^-8 of what they mean: the same bits, with an exponent biased by 15 instead of 7, as f16.
inline F32 load_e4m3(const uint8_t* p) {
  const int8x8_t codes = {static_cast<int8_t>(p[0]), static_cast<int8_t>(p[1]), static_cast<int8_t>(p[2]),
                          static_cast<int8_t>(p[3])};
  const uint16x4_t halves = vreinterpret_u16_s16(vshl_n_s16(vget_low_s16(vmovl_s8(codes)), 7));
  return {vcvt_f32_f16(vreinterpret_f16_u16(vand_u16(halves, vdup_n_u16(0xbfff))))};
}

inline void transpose(F32 (&r)[4]) {
  const float32x4x2_t top = vtrnq_f32(r[0].v, r[1].v), bottom = vtrnq_f32(r[2].v, r[3].v);
  for (int i = 0; i < 2; ++i) {
    r[i].v = vcombine_f32(vget_low_f32(top.val[i]), vget_low_f32(bottom.val[i]));
    r[2 + i].v = vcombine_f32(vget_high_f32(top.val[i]), vget_high_f32(bottom.val[i]));
  }
}

}  // namespace mamba::cpu::MAMBA_ISA
