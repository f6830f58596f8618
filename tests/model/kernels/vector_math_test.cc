#include "model/kernels/vector_math.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "model/kernels/simd_emulated.h"

// The emulated lanes alone: that the real ones compute the same bits is what the kernels' tests
// say.
namespace parrot::kernels {
namespace {

using V = Emulated<8>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename Function>
float Call(Function function, float x) {
  return function(V::Set(x)).lane[0];
}

float ExpOf(float x) { return Call(Exp<V>, x); }
float ErfOf(float x) { return Call(Erf<V>, x); }

TEST(VectorMathTest, ExpIsWithinTwoUlp) {
  for (float x = -87.3f; x < 88.7f; x += 0.00371f) {
    const double exact = std::exp(static_cast<double>(x));
    EXPECT_NEAR(ExpOf(x), exact, 2 * 0x1p-23 * exact) << x;
  }
  for (float x = -103.9f; x < -87.3f; x += 0.037f) {  // not normal: the last place is 2^-149
    EXPECT_NEAR(ExpOf(x), std::exp(static_cast<double>(x)), 0x1p-148) << x;
  }
  EXPECT_EQ(ExpOf(0.0f), 1.0f);
}

TEST(VectorMathTest, ExpEndsInZeroAndInfinity) {
  for (const float x : {-104.0f, -110.5f, -1e6f, -3e38f, -kInfinity}) EXPECT_EQ(ExpOf(x), 0.0f);
  for (const float x : {88.8f, 150.0f, 3e38f, kInfinity}) EXPECT_EQ(ExpOf(x), kInfinity);
  EXPECT_TRUE(std::isnan(ExpOf(std::numeric_limits<float>::quiet_NaN())));
}

TEST(VectorMathTest, ErfIsNearItsValueAndOdd) {
  for (float x = 1e-6f; x < 6.0f; x += 0.00037f) {
    const double exact = std::erf(static_cast<double>(x));
    EXPECT_NEAR(ErfOf(x), exact, 4e-7 * exact) << x;
    EXPECT_EQ(ErfOf(-x), -ErfOf(x));
  }
  EXPECT_EQ(ErfOf(0.0f), 0.0f);
  EXPECT_NEAR(ErfOf(kInfinity), 1.0f, 2e-7f);
}

TEST(VectorMathTest, ActivationsHaveTheirLimits) {
  const auto silu = [](V::F x) { return Silu<V>(x); };
  for (float x = -20.0f; x < 20.0f; x += 0.137f) {
    EXPECT_NEAR(Call(silu, x), x / (1.0 + std::exp(-static_cast<double>(x))), 3e-6) << x;
    EXPECT_NEAR(Call(Gelu<V>, x), 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))), 3e-6) << x;
  }
  EXPECT_EQ(Call(silu, -200.0f), 0.0f);
  EXPECT_EQ(Call(silu, 200.0f), 200.0f);
  EXPECT_NEAR(Call(Gelu<V>, -200.0f), 0.0f, 1e-4f);
}

}  // namespace
}  // namespace parrot::kernels
