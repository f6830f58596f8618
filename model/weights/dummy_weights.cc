#include "model/weights/dummy_weights.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "base/hash.h"
#include "model/weights/model_file.h"
#include "model/weights/tensor_names.h"

namespace parrot {
namespace {

// splitmix64: a counter goes in, 64 independent bits come out (Steele, Lea, Flood 2014).
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint16_t ToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // nearest, ties to even
}

// Values here are zero or far inside float16's normal range or below it; the latter become zero.
uint16_t ToFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const int32_t exponent = static_cast<int32_t>(bits >> 23 & 0xff) - 127 + 15;
  if (exponent <= 0) return sign;
  const uint32_t rounded = (bits & 0x7fffff) + 0xfff + (bits >> 13 & 1);
  return static_cast<uint16_t>(sign | ((static_cast<uint32_t>(exponent) << 10) + (rounded >> 13)));
}

struct Distribution {
  float center = 0.0f;
  float half_width = 0.0f;  // uniform in [center - half_width, center + half_width)
};

bool EndsWith(std::string_view text, std::string_view suffix) { return text.ends_with(suffix); }

Distribution DistributionOf(const TensorSpec& spec) {
  const float sqrt3 = std::sqrt(3.0f);  // a uniform's half width over its standard deviation
  const std::string_view name = spec.name;
  const bool is_norm = name.find("norm") != std::string_view::npos;
  if (EndsWith(name, "bias") || EndsWith(name, "class_embedding")) return {0.0f, 0.02f * sqrt3};
  if (is_norm) return {1.0f, 0.02f * sqrt3};
  if (name.find("embed_tokens") != std::string_view::npos ||
      name.find("position_embedding") != std::string_view::npos) {
    return {0.0f, 0.02f * sqrt3};
  }
  int64_t fan_in = 1;
  for (size_t i = 1; i < spec.shape.size(); ++i) fan_in *= spec.shape[i];
  return {0.0f, sqrt3 / std::sqrt(static_cast<float>(fan_in))};
}

// Four 16-bit fields of each mixed counter make four values.
template <typename T, typename Convert>
void Fill(T* out, int64_t count, uint64_t key, Distribution d, Convert convert) {
  const float scale = d.half_width / 32768.0f;
  const auto value = [&](uint64_t bits, int field) {
    const auto lane = static_cast<int16_t>(bits >> (16 * field) & 0xffff);
    return convert(d.center + scale * static_cast<float>(lane));
  };
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const uint64_t bits = Mix(key + static_cast<uint64_t>(i));
    for (int field = 0; field < 4; ++field) out[i + field] = value(bits, field);
  }
  const uint64_t bits = Mix(key + static_cast<uint64_t>(i));
  for (int field = 0; i + field < count; ++field) out[i + field] = value(bits, field);
}

}  // namespace

DummyWeights::DummyWeights(const ModelConfig& config, uint64_t seed)
    : config_(config), seed_(seed), tensors_(ExpectedTensors(config)) {
  index_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    index_.emplace(tensors_[i].name, static_cast<int>(i));
  }
  Sha256 hash;
  hash.UpdateSized("dummy");
  hash.UpdateSized(config.revision);
  hash.UpdateInt(seed);
  config_.revision = hash.Finish().ToHex();
}

absl::StatusOr<TensorView> DummyWeights::Get(std::string_view name) const {
  if (name == tensor_names::kLmHead && config_.language.tie_word_embeddings) {
    name = tensor_names::kTokenEmbedding;
  }
  const auto it = index_.find(absl::string_view(name.data(), name.size()));
  if (it == index_.end()) {
    return ModelFileMissing("dummy weights", "have no tensor " + PrintableName(name));
  }
  const TensorSpec& spec = tensors_[static_cast<size_t>(it->second)];
  const int64_t count = spec.num_elements();
  const size_t bytes = static_cast<size_t>(count * DataTypeBytes(config_.stored_dtype));
  const std::shared_ptr<std::byte[]> buffer = std::make_shared_for_overwrite<std::byte[]>(bytes);

  const Sha256Digest name_hash = Sha256Of(spec.name);
  uint64_t name_key = 0;
  std::memcpy(&name_key, name_hash.bytes.data(), sizeof(name_key));
  const uint64_t key = Mix(seed_) ^ name_key;
  const Distribution d = DistributionOf(spec);
  switch (config_.stored_dtype) {
    case DataType::kFloat32:
      Fill(reinterpret_cast<float*>(buffer.get()), count, key, d, [](float v) { return v; });
      break;
    case DataType::kBFloat16:
      Fill(reinterpret_cast<uint16_t*>(buffer.get()), count, key, d, ToBFloat16);
      break;
    case DataType::kFloat16:
      Fill(reinterpret_cast<uint16_t*>(buffer.get()), count, key, d, ToFloat16);
      break;
  }
  return TensorView{.name = spec.name,
                    .dtype = config_.stored_dtype,
                    .shape = spec.shape,
                    .bytes = {buffer.get(), bytes},
                    .owner = buffer};
}

Sha256Digest DummyWeights::Fingerprint() const {
  Sha256 hash;
  hash.Update("dummy");
  hash.UpdateInt(seed_);
  hash.UpdateInt(static_cast<uint64_t>(config_.stored_dtype));
  for (const TensorSpec& spec : tensors_) {
    hash.UpdateSized(spec.name);
    for (const int64_t side : spec.shape) hash.UpdateInt(static_cast<uint64_t>(side));
  }
  return hash.Finish();
}

}  // namespace parrot
