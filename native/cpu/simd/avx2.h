#pragma once
// AVX2 + FMA + F16C: eight floats per register.
#include <immintrin.h>
#include <stdint.h>

#define MAMBA_ISA avx2

namespace mamba::cpu::MAMBA_ISA {

struct F32 {
  static constexpr int lanes = 8;
  __m256 v;
};

inline F32 zero() { return {_mm256_setzero_ps()}; }
inline F32 set(float x) { return {_mm256_set1_ps(x)}; }
inline F32 load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, F32 a) { _mm256_storeu_ps(p, a.v); }

inline F32 load(const bf16* p) {
  const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16))};
}
inline void store(bf16* p, F32 a) {
  const __m256i u = _mm256_castps_si256(a.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  __m256i r = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q));
  r = _mm256_blendv_epi8(r, _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40)), nan);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
inline F32 load(const f16* p) { return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }
inline void store(f16* p, F32 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

// The first n elements, n in [0, lanes]; the rest reads as zero and is not written.
template <class T>
inline F32 load_partial(const T* p, int n) {
  T buffer[8] = {};
  for (int i = 0; i < n; ++i) buffer[i] = p[i];
  return load(buffer);
}
template <class T>
inline void store_partial(T* p, F32 a, int n) {
  T buffer[8];
  store(buffer, a);
  for (int i = 0; i < n; ++i) p[i] = buffer[i];
}

inline F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
inline float sum(F32 a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float reduce_max(F32 a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline F32 round(F32 a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F32 exp2_int(F32 n) {
  return {
      _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127)), 23))};
}
inline F32 scale_exp2(F32 a, F32 n) {
  const F32 half = round(n * set(0.5f));
  return a * exp2_int(half) * exp2_int(n - half);
}
inline F32 select_less(F32 a, F32 b, F32 x, F32 y) {
  return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}

// As many words as there are floats: an integer, or two of 16 bits, or what such pairs are taken from.
struct I32 {
  __m256i v;
};
inline I32 load_i32(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
inline I32 set_i32(uint32_t x) { return {_mm256_set1_epi32(static_cast<int>(x))}; }
inline F32 to_floats(I32 a) { return {_mm256_cvtepi32_ps(a.v)}; }
// The signed low, or high, byte of each 16 bits.
inline I32 low_bytes(I32 a) { return {_mm256_srai_epi16(_mm256_slli_epi16(a.v, 8), 8)}; }
inline I32 high_bytes(I32 a) { return {_mm256_srai_epi16(a.v, 8)}; }
// The i-th four bits of each 16.
inline I32 nibbles(I32 a, int i) { return {_mm256_and_si256(_mm256_srli_epi32(a.v, 4 * i), set_i32(0x000f000f).v)}; }
// sum + a0 b0 + a1 b1 of pairs.
inline I32 add_products(I32 a, I32 b, I32 sum) { return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(a.v, b.v))}; }
// Whole numbers, as 16 bits each.
inline void store_int16(int16_t* p, F32 a) {
  const __m256i words = _mm256_cvtps_epi32(a.v);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(words, words), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
// Codes of e4m3, 2^-8 of what they mean: the same bits, with an exponent biased by 15 instead of 7, as f16.
inline F32 load_e4m3(const uint8_t* p) {
  const __m128i codes = _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(codes, 7), _mm_set1_epi16(static_cast<short>(0xbfff))))};
}

inline void transpose(F32 (&r)[8]) {
  __m256 pairs[8], quads[8];  // quads[4 i + j]: column j (low lane) and 4 + j (high lane) of rows 4 i to 4 i + 3
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(r[i].v, r[i + 1].v);
    pairs[i + 1] = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      const __m256d top = _mm256_castps_pd(pairs[i + j]), bottom = _mm256_castps_pd(pairs[i + j + 2]);
      quads[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(top, bottom));
      quads[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(top, bottom));
    }
  }
  for (int j = 0; j < 4; ++j) {
    r[j].v = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x20);
    r[4 + j].v = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x31);
  }
}

}  // namespace mamba::cpu::MAMBA_ISA
