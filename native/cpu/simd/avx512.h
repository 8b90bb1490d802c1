#pragma once
// AVX-512 F/BW/VL/DQ: sixteen floats per register. With MAMBA_ISA_BF16 also the bf16 dot product (used by linear.inl),
// the bf16 conversion instruction and VNNI's dot product of integers, which every such processor has; with
// MAMBA_ISA_AMX products of tiles (tiles.inl).
#include <immintrin.h>
#include <stdint.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own _mm512_undefined_* (PR 105593)
#endif

#if defined(MAMBA_ISA_AMX)
#define MAMBA_ISA amx
#elif defined(MAMBA_ISA_BF16)
#define MAMBA_ISA avx512bf16
#else
#define MAMBA_ISA avx512
#endif

namespace mamba::cpu::MAMBA_ISA {

struct F32 {
  static constexpr int lanes = 16;
  __m512 v;
};

inline F32 zero() { return {_mm512_setzero_ps()}; }
inline F32 set(float x) { return {_mm512_set1_ps(x)}; }
inline __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, F32 a) { _mm512_storeu_ps(p, a.v); }
inline F32 load_partial(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
inline void store_partial(float* p, F32 a, int n) { _mm512_mask_storeu_ps(p, first(n), a.v); }

inline __m512 widen_bf16(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
inline __m256i narrow_bf16(__m512 v) {
#ifdef MAMBA_ISA_BF16
  // vcvtneps2bf16 treats subnormals as zero; no value of a model lives there.
  return (__m256i)_mm512_cvtneps_pbh(v);
#else
  const __m512i u = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i r = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd), 16);
  const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet));
#endif
}
inline F32 load(const bf16* p) { return {widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline void store(bf16* p, F32 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bf16(a.v)); }
inline F32 load_partial(const bf16* p, int n) { return {widen_bf16(_mm256_maskz_loadu_epi16(first(n), p))}; }
inline void store_partial(bf16* p, F32 a, int n) { _mm256_mask_storeu_epi16(p, first(n), narrow_bf16(a.v)); }

inline F32 load(const f16* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline void store(f16* p, F32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline F32 load_partial(const f16* p, int n) { return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p))}; }
inline void store_partial(f16* p, F32 a, int n) {
  _mm256_mask_storeu_epi16(p, first(n), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

inline F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline float sum(F32 a) { return _mm512_reduce_add_ps(a.v); }
inline float reduce_max(F32 a) { return _mm512_reduce_max_ps(a.v); }
inline F32 round(F32 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F32 exp2_int(F32 n) {
  return {
      _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23))};
}
inline F32 scale_exp2(F32 a, F32 n) { return {_mm512_scalef_ps(a.v, n.v)}; }
inline F32 select_less(F32 a, F32 b, F32 x, F32 y) {
  return {_mm512_mask_mov_ps(y.v, _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), x.v)};
}

// As many words as there are floats: an integer, or two of 16 bits, or what such pairs are taken from.
struct I32 {
  __m512i v;
};
inline I32 load_i32(const void* p) { return {_mm512_loadu_si512(p)}; }
inline I32 set_i32(uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
inline F32 to_floats(I32 a) { return {_mm512_cvtepi32_ps(a.v)}; }
// The signed low, or high, byte of each 16 bits.
inline I32 low_bytes(I32 a) { return {_mm512_srai_epi16(_mm512_slli_epi16(a.v, 8), 8)}; }
inline I32 high_bytes(I32 a) { return {_mm512_srai_epi16(a.v, 8)}; }
// The i-th four bits of each 16.
inline I32 nibbles(I32 a, int i) {
  return {_mm512_and_si512(_mm512_srli_epi32(a.v, static_cast<unsigned>(4 * i)), set_i32(0x000f000f).v)};
}
// sum + a0 b0 + a1 b1 of pairs.
inline I32 add_products(I32 a, I32 b, I32 sum) {
#ifdef MAMBA_ISA_BF16
  return {_mm512_dpwssd_epi32(sum.v, a.v, b.v)};
#else
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(a.v, b.v))};
#endif
}
#ifdef MAMBA_ISA_BF16
#define MAMBA_ISA_BYTES  // products of bytes
// sum + a0 b0 + a1 b1 + a2 b2 + a3 b3 of bytes, of which a's have no sign.
inline I32 add_byte_products(I32 a, I32 b, I32 sum) { return {_mm512_dpbusd_epi32(sum.v, a.v, b.v)}; }
inline I32 operator+(I32 a, I32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline I32 operator^(I32 a, I32 b) { return {_mm512_xor_si512(a.v, b.v)}; }
inline I32 operator&(I32 a, I32 b) { return {_mm512_and_si512(a.v, b.v)}; }
inline I32 shift_left(I32 a, unsigned n) { return {_mm512_slli_epi32(a.v, n)}; }
inline I32 shift_right(I32 a, unsigned n) { return {_mm512_srli_epi32(a.v, n)}; }
// Sixteen whole numbers as 256 high + low, both from -128 to 127; byte i is of number order[i].
inline void store_digits(int8_t* high, int8_t* low, F32 a, const int8_t (&order)[16]) {
  const __m128i places = _mm_loadu_si128(reinterpret_cast<const __m128i*>(order));
  const __m512i numbers = _mm512_cvtps_epi32(a.v);
  const __m512i highs = _mm512_srai_epi32(_mm512_add_epi32(numbers, _mm512_set1_epi32(128)), 8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(high), _mm_shuffle_epi8(_mm512_cvtepi32_epi8(highs), places));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(low), _mm_shuffle_epi8(_mm512_cvtepi32_epi8(numbers), places));
}
#endif
// Whole numbers, as 16 bits each.
inline void store_int16(int16_t* p, F32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(a.v)));
}
// Codes of e4m3, 2^-8 of what they mean: the same bits, with an exponent biased by 15 instead of 7, as f16.
inline F32 load_e4m3(const uint8_t* p) {
  const __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {
      _mm512_cvtph_ps(_mm256_and_si256(_mm256_slli_epi16(codes, 7), _mm256_set1_epi16(static_cast<short>(0xbfff))))};
}

inline void transpose(F32 (&r)[16]) {
  __m512 pairs[16], quads[16];  // quads[4 i + j]: columns j, 4 + j, 8 + j, 12 + j (by lane) of rows 4 i to 4 i + 3
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    pairs[i + 1] = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int j = 0; j < 2; ++j) {
      const __m512d top = _mm512_castps_pd(pairs[i + j]), bottom = _mm512_castps_pd(pairs[i + j + 2]);
      quads[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(top, bottom));
      quads[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(top, bottom));
    }
  }
  for (int j = 0; j < 4; ++j) {
    const __m512 even_top = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0x88);
    const __m512 even_bottom = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0x88);
    const __m512 odd_top = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0xdd);
    const __m512 odd_bottom = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0xdd);
    r[j].v = _mm512_shuffle_f32x4(even_top, even_bottom, 0x88);
    r[4 + j].v = _mm512_shuffle_f32x4(odd_top, odd_bottom, 0x88);
    r[8 + j].v = _mm512_shuffle_f32x4(even_top, even_bottom, 0xdd);
    r[12 + j].v = _mm512_shuffle_f32x4(odd_top, odd_bottom, 0xdd);
  }
}

}  // namespace mamba::cpu::MAMBA_ISA
