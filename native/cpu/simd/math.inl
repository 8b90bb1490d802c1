// Elementary functions on F32, the same for every instruction set.

namespace mamba::cpu::MAMBA_ISA {

// exp with about 2 ulp, 0 below -87.3 and +inf above 88.7: 2^n times a degree-6 polynomial on [-ln2/2, ln2/2].
inline F32 exp(F32 x) {
  const F32 n = round(x * set(1.44269504f));
  F32 r = fma(n, set(-0.693359375f), x);
  r = fma(n, set(2.12194440e-4f), r);
  F32 p = set(1.9875691500e-4f);
  p = fma(p, r, set(1.3981999507e-3f));
  p = fma(p, r, set(8.3334519073e-3f));
  p = fma(p, r, set(4.1665795894e-2f));
  p = fma(p, r, set(1.6666665459e-1f));
  p = fma(p, r, set(5.0000001201e-1f));
  p = fma(p, r * r, r + set(1.0f));
  // Two factors, because 2^128 is not a float while exp(88.5) is.
  const F32 half = round(n * set(0.5f));
  const F32 clamped = max(min(n, set(200.0f)), set(-200.0f));
  const F32 low = max(min(half, set(100.0f)), set(-100.0f));
  const F32 y = p * exp2_int(low) * exp2_int(clamped - low);
  const F32 small = select_less(x, set(-87.33655f), zero(), y);
  return select_less(set(88.72284f), x, set(__builtin_inff()), small);
}

inline F32 silu(F32 x) { return x / (set(1.0f) + exp(zero() - x)); }

// log(1 + exp(x)), and x itself past the threshold where the two agree to float precision.
inline float softplus(float x, float threshold) {
  return x > threshold ? x : __builtin_log1pf(__builtin_expf(x));
}

}  // namespace mamba::cpu::MAMBA_ISA
