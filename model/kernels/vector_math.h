// Functions of vectors of floats, for the kernels' templates: V is a struct of simd_emulated.h or
// of one of its twins. Coefficients are minimax fits of this project; errors were measured over all
// floats of the range against the double function (vector_math_test.cc). NaN stays NaN.
#ifndef PARROT_MODEL_KERNELS_VECTOR_MATH_H_
#define PARROT_MODEL_KERNELS_VECTOR_MATH_H_

namespace parrot::kernels {

// e^x within 2 ulp; 0 from -104 down (also for -infinity), infinity above the largest float.
template <typename V>
typename V::F Exp(typename V::F x) {
  using F = typename V::F;
  x = V::Min(V::Set(100.0f), V::Max(V::Set(-110.0f), x));
  const F n = V::Round(V::Mul(x, V::Set(1.44269504f)));
  // x - n ln 2, with ln 2 in two parts.
  const F r = V::Fnma(n, V::Set(-1.90465421e-9f), V::Fnma(n, V::Set(0.693147182f), x));
  // e^r = 1 + r + r^2 q(r)
  F q = V::Fma(V::Set(1.38145277e-3f), r, V::Set(8.36874638e-3f));
  q = V::Fma(q, r, V::Set(4.16683927e-2f));
  q = V::Fma(q, r, V::Set(0.166665196f));
  q = V::Fma(q, r, V::Set(0.499999940f));
  const F e = V::Add(V::Fma(V::Mul(r, r), q, r), V::Set(1.0f));
  // 2^n in two steps: it may be too large or too small for one.
  const F half = V::Round(V::Mul(n, V::Set(0.5f)));
  return V::Mul(V::Mul(e, V::PowerOfTwo(half)), V::PowerOfTwo(V::Sub(n, half)));
}

// The error function, within 4e-7 of its value.
template <typename V>
typename V::F Erf(typename V::F x) {
  using F = typename V::F;
  // From 3.93 on it is 1 in fp32.
  x = V::Min(V::Set(3.93f), V::Max(V::Set(-3.93f), x));
  const F t = V::Mul(x, x);
  F p = V::Fma(V::Set(2.04202639e-6f), t, V::Set(2.84802169e-4f));
  p = V::Fma(p, t, V::Set(3.77930980e-3f));
  p = V::Fma(p, t, V::Set(5.27893491e-2f));
  p = V::Fma(p, t, V::Set(0.190776840f));
  p = V::Fma(p, t, V::Set(1.12837911f));
  F q = V::Fma(V::Set(3.80043202e-5f), t, V::Set(1.16514100e-3f));
  q = V::Fma(q, t, V::Set(1.49968313e-2f));
  q = V::Fma(q, t, V::Set(0.114254624f));
  q = V::Fma(q, t, V::Set(0.502404273f));
  q = V::Fma(q, t, V::Set(1.0f));
  return V::Div(V::Mul(x, p), q);
}

// x / (1 + e^(-slope x)): SiLU with slope 1, quick-GELU with 1.702.
template <typename V>
typename V::F Silu(typename V::F x, float slope = 1.0f) {
  const typename V::F e = Exp<V>(V::Mul(x, V::Set(-slope)));
  return V::Div(x, V::Add(V::Set(1.0f), e));
}

// x (1 + erf(x / sqrt 2)) / 2
template <typename V>
typename V::F Gelu(typename V::F x) {
  const typename V::F half = V::Mul(x, V::Set(0.5f));
  return V::Fma(half, Erf<V>(V::Mul(x, V::Set(0.707106781f))), half);
}

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_VECTOR_MATH_H_
