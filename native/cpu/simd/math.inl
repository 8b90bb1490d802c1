#pragma once
// Elementary functions on F32, the same for every instruction set.

namespace mamba::cpu::MAMBA_ISA {

// exp with about 2 ulp, 0 below -87.3 and +inf above 88.7: 2^n times a degree-6 polynomial on [-ln2/2, ln2/2].
inline F32 exp(F32 x) {
  const F32 inside = max(set(-88.0f), min(set(89.0f), x));  // in this order a NaN stays one
  const F32 n = round(inside * set(1.44269504f));
  F32 r = fma(n, set(-0.693359375f), inside);
  r = fma(n, set(2.12194440e-4f), r);
  F32 p = set(1.9875691500e-4f);
  p = fma(p, r, set(1.3981999507e-3f));
  p = fma(p, r, set(8.3334519073e-3f));
  p = fma(p, r, set(4.1665795894e-2f));
  p = fma(p, r, set(1.6666665459e-1f));
  p = fma(p, r, set(5.0000001201e-1f));
  p = fma(p, r * r, r + set(1.0f));
  return select_less(x, set(-87.33655f), zero(), scale_exp2(p, n));
}

inline F32 sigmoid(F32 x) { return set(1.0f) / (set(1.0f) + exp(zero() - x)); }
inline F32 silu(F32 x) { return x / (set(1.0f) + exp(zero() - x)); }

// x (1 + erf(x / sqrt 2)) / 2. With s = |x| / sqrt 2 the smaller of the two tails is erfc(s) = t P(t) exp(-s^2), t = 1
// / (1 + 0.3275911 s), to 1.5e-7 (Abramowitz & Stegun 7.1.26); nothing cancels on either side.
inline F32 gelu(F32 x) {
  const F32 s = max(x, zero() - x) * set(0.70710678f);
  const F32 t = set(1.0f) / fma(s, set(0.3275911f), set(1.0f));
  F32 p = set(1.061405429f);
  p = fma(p, t, set(-1.453152027f));
  p = fma(p, t, set(1.421413741f));
  p = fma(p, t, set(-0.284496736f));
  p = fma(p, t, set(0.254829592f));
  const F32 tail = x * set(0.5f) * p * t * exp(zero() - s * s);
  return select_less(x, zero(), tail, x - tail);
}

// x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3): x sigmoid(2 u).
inline F32 gelu_tanh(F32 x) {
  const F32 u2 = x * fma(x * x, set(2 * 0.79788456f * 0.044715f), set(2 * 0.79788456f));
  return x / (set(1.0f) + exp(zero() - u2));
}

inline F32 relu2(F32 x) {
  const F32 positive = max(zero(), x);
  return positive * positive;
}

// log(1 + exp(x)) = max(x, 0) + log(1 + e) with e = exp(-|x|) in [0, 1]; the logarithm is 2 artanh(e / (2 + e)), a
// series in s^2 <= 1/9. About 2 ulp; past kSoftplusThreshold the second term is below half an ulp of x.
inline F32 softplus(F32 x) {
  const F32 e = exp(min(x, zero() - x));
  const F32 s = e / (set(2.0f) + e), q = s * s;
  F32 p = set(2.0f / 15);
  p = fma(p, q, set(2.0f / 13));
  p = fma(p, q, set(2.0f / 11));
  p = fma(p, q, set(2.0f / 9));
  p = fma(p, q, set(2.0f / 7));
  p = fma(p, q, set(2.0f / 5));
  p = fma(p, q, set(2.0f / 3));
  p = fma(p, q, set(2.0f));
  return fma(p, s, max(zero(), x));
}

}  // namespace mamba::cpu::MAMBA_ISA
