#include "model/weights/dummy_weights.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/weights/checkpoint.h"
#include "model/weights/tensor_names.h"
#include "tests/model/weights/checkpoint_files.h"

namespace parrot {
namespace {

ModelConfig Config(const char* name) { return *LoadModelConfig(GoldenCheckpoint(name)); }

std::vector<float> Values(const TensorView& view) {
  const size_t count = view.bytes.size() / static_cast<size_t>(DataTypeBytes(view.dtype));
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    if (view.dtype == DataType::kFloat32) {
      std::memcpy(&values[i], view.bytes.data() + 4 * i, 4);
      continue;
    }
    uint16_t half = 0;
    std::memcpy(&half, view.bytes.data() + 2 * i, 2);
    if (view.dtype == DataType::kBFloat16) {
      values[i] = std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
    } else {
      const int exponent = half >> 10 & 31;
      const float magnitude = exponent == 0
                                  ? std::ldexp(static_cast<float>(half & 1023), -24)
                                  : std::ldexp(1.0f + (half & 1023) / 1024.0f, exponent - 15);
      values[i] = (half & 0x8000) != 0 ? -magnitude : magnitude;
    }
  }
  return values;
}

TEST(DummyWeightsTest, HasExactlyTheTensorsOfTheConfiguration) {
  for (const char* name : kGoldenCheckpoints) {
    const auto checkpoint = Checkpoint::Open(GoldenCheckpoint(name));
    const DummyWeights dummy(Config(name), /*seed=*/1);
    EXPECT_EQ(dummy.tensors().size(), (*checkpoint)->tensors().size());
    for (const TensorSpec& spec : (*checkpoint)->tensors()) {
      const auto view = dummy.Get(spec.name);
      ASSERT_TRUE(view.ok()) << view.status();
      EXPECT_EQ(view->shape, spec.shape);
      EXPECT_EQ(view->dtype, dummy.config().stored_dtype);
      EXPECT_EQ(static_cast<int64_t>(view->bytes.size()),
                spec.num_elements() * DataTypeBytes(view->dtype));
    }
  }
}

TEST(DummyWeightsTest, ValuesAreAFunctionOfSeedAndName) {
  const DummyWeights a(Config("nano-mha"), 7), b(Config("nano-mha"), 7), c(Config("nano-mha"), 8);
  const std::string q = tensor_names::LanguageLayer(0, "self_attn.q_proj.weight");
  const std::string k = tensor_names::LanguageLayer(0, "self_attn.k_proj.weight");
  EXPECT_EQ(Values(*a.Get(q)), Values(*b.Get(q)));
  EXPECT_NE(Values(*a.Get(q)), Values(*c.Get(q)));
  EXPECT_NE(Values(*a.Get(q)), Values(*a.Get(k)));
  EXPECT_NE(a.config().revision, c.config().revision);
}

TEST(DummyWeightsTest, EveryDtypeHasTheSameValuesUpToRounding) {
  ModelConfig config = Config("nano-mha");
  const std::string name = tensor_names::LanguageLayer(1, "mlp.gate_proj.weight");
  config.stored_dtype = DataType::kFloat32;
  const std::vector<float> exact = Values(*DummyWeights(config, 3).Get(name));
  for (const DataType dtype : {DataType::kBFloat16, DataType::kFloat16}) {
    config.stored_dtype = dtype;
    const std::vector<float> rounded = Values(*DummyWeights(config, 3).Get(name));
    const float relative = dtype == DataType::kBFloat16 ? 1.0f / 256 : 1.0f / 2048;
    for (size_t i = 0; i < exact.size(); ++i) {
      ASSERT_NEAR(rounded[i], exact[i], std::abs(exact[i]) * relative + 7e-5f) << i;
    }
  }
}

TEST(DummyWeightsTest, LinearsKeepTheScaleOfActivations) {
  const DummyWeights dummy(Config("nano-mha"), 1);
  const std::vector<float> values =
      Values(*dummy.Get(tensor_names::LanguageLayer(0, "mlp.down_proj.weight")));
  double sum = 0.0, squares = 0.0;
  for (const float v : values) {
    sum += v;
    squares += static_cast<double>(v) * v;
  }
  const double count = static_cast<double>(values.size());
  EXPECT_NEAR(sum / count, 0.0, 1e-3);
  EXPECT_NEAR(squares / count * 352, 1.0, 0.05);  // variance 1 / fan_in
  for (const float v : Values(*dummy.Get(tensor_names::kFinalNorm))) EXPECT_NEAR(v, 1.0f, 0.04f);
}

TEST(DummyWeightsTest, ViewsOwnTheirBytes) {
  TensorView first, second;
  {
    const DummyWeights dummy(Config("nano-gqa"), 1);
    first = *dummy.Get(tensor_names::kLmHead);  // tied: the embedding
    second = *dummy.Get(tensor_names::kTokenEmbedding);
    EXPECT_FALSE(dummy.Get("lm_head.bias").ok());
  }
  EXPECT_EQ(Values(first), Values(second));
  EXPECT_EQ(first.owner.use_count(), 1);
}

}  // namespace
}  // namespace parrot
