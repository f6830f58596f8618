#include "tests/model/golden_prompts/golden_prompts.h"

#include <png.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "model/kernels/isa.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

constexpr double kToleranceFactor = 5.0;
// The text of <|endoftext|>; generate() masks it because it is the padding id.
constexpr char kMaskedKind[] = "literal_endoftext";

ImagePixels ReadPng(const std::string& path, int32_t* size) {
  png_image image;
  std::memset(&image, 0, sizeof(image));
  image.version = PNG_IMAGE_VERSION;
  PARROT_CHECK(png_image_begin_read_from_file(&image, path.c_str()) != 0) << path;
  image.format = PNG_FORMAT_RGB;
  ImagePixels pixels(PNG_IMAGE_SIZE(image));
  PARROT_CHECK(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr) != 0) << path;
  PARROT_CHECK(image.width == image.height) << path;
  *size = static_cast<int32_t>(image.width);
  return pixels;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const GoldenCase& golden) {
  out << golden.checkpoint << " on " << TestDevice() << ", " << golden.backend;
  return golden.isa.empty() ? out : out << " " << golden.isa;
}

std::string GoldenCaseName(const testing::TestParamInfo<GoldenCase>& info) {
  std::string name = info.param.checkpoint + "_" + info.param.backend + info.param.isa;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::vector<GoldenCase> AllGoldenCases() {
  std::vector<GoldenCase> cases;
  for (const char* checkpoint : kGoldenCheckpoints) {
    cases.push_back({.checkpoint = checkpoint, .backend = "reference"});
    if (TestDevice() != "cpu") continue;
    for (const kernels::Isa isa : kernels::NativeIsas()) {
      cases.push_back(
          {.checkpoint = checkpoint, .backend = "cpu", .isa = std::string(kernels::IsaName(isa))});
    }
  }
  return cases;
}

std::string TestDevice() {
  const char* device = std::getenv("PARROT_TEST_DEVICE");
  return device != nullptr && *device != '\0' ? device : "cpu";
}

std::vector<TokenId> GoldenPrompt::text_ids() const {
  std::vector<TokenId> text;
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(text), [](TokenId id) {
    return id != kVisualToken;
  });
  return text;
}

std::vector<TokenId> GoldenPrompt::SafeTokens() const {
  std::vector<TokenId> tokens;
  for (const nlohmann::json& step : entry["greedy"]["steps"]) {
    if (step["margin"].get<double>() < kSafeMargin) break;
    tokens.push_back(step["token"].get<TokenId>());
  }
  return tokens;
}

GoldenPrompts::GoldenPrompts(const std::string& checkpoint) {
  absl::StatusOr<std::unique_ptr<Checkpoint>> opened =
      Checkpoint::Open(GoldenPath("checkpoints/" + checkpoint));
  PARROT_CHECK(opened.ok()) << opened.status();
  checkpoint_ = *std::move(opened);
  absl::StatusOr<std::shared_ptr<const SafetensorsFile>> file =
      SafetensorsFile::Open(GoldenPath("activations/" + checkpoint + ".safetensors"));
  PARROT_CHECK(file.ok()) << file.status();
  tensors_ = *std::move(file);
  for (nlohmann::json& line : ReadJsonLines("images/images.jsonl")) {
    const std::string file_name = line["file"];
    images_[file_name] = std::move(line);
  }
  // <|im_end|> is the last id that a text can have.
  vocab_size_ = checkpoint_->config().eos_token_id + 1;
  const TokenId pad = checkpoint_->config().bos_token_id;
  std::map<std::string, nlohmann::json> by_id;
  for (nlohmann::json& line : ReadJsonLines("prompts.jsonl")) {
    const std::string id = line["id"];
    by_id[id] = std::move(line);
  }
  const auto recorded =
      nlohmann::json::parse(ReadGoldenFile("activations/" + checkpoint + ".json"));
  for (const auto& [name, value] : recorded["worst_tolerance"]["float64"].items()) {
    worst_[name] = value.get<double>();
  }
  for (const nlohmann::json& entry : recorded["prompts"]) {
    GoldenPrompt prompt;
    prompt.id = entry["id"];
    prompt.key = entry["key"];
    prompt.kind = entry["kind"];
    prompt.entry = entry;
    for (const TokenId id : by_id.at(prompt.id)["input_ids"]) {
      if (prompt.kind != kMaskedKind || id != pad) prompt.ids.push_back(id);
    }
    for (const std::string file_name : entry["images"]) {
      prompt.images.push_back(LoadImage(file_name));
    }
    prompts_.push_back(std::move(prompt));
  }
  PARROT_CHECK(prompts_.size() == kGoldenPromptCounts.at(checkpoint)) << prompts_.size();
}

ImageInput GoldenPrompts::LoadImage(const std::string& file) {
  const std::string side = std::to_string(checkpoint_->config().vision.image_size);
  const nlohmann::json& line = images_.at(file);
  const nlohmann::json& resized = line["resized"][side];
  ImageInput image;
  auto pixels = ReadPng(GoldenPath(resized["file"].get<std::string>()), &image.size);
  Sha256 hash;
  hash.Update(pixels.data(), pixels.size());
  image.hash = hash.Finish();
  PARROT_CHECK(image.hash.ToHex() == resized["rgb_sha256"].get<std::string>()) << file;
  image.pixels = std::make_shared<const ImagePixels>(std::move(pixels));
  return image;
}

const GoldenPrompt& GoldenPrompts::Find(const std::string& key) const {
  const auto it = std::find_if(
      prompts_.begin(), prompts_.end(), [&](const GoldenPrompt& p) { return p.key == key; });
  PARROT_CHECK(it != prompts_.end()) << key;
  return *it;
}

std::vector<float> GoldenPrompts::Tensor(const GoldenPrompt& prompt,
                                         const std::string& name) const {
  const SafetensorsTensor* tensor = tensors_->Find(prompt.key + "." + name);
  if (tensor == nullptr) return {};
  PARROT_CHECK(tensor->type == SafetensorsType::kF32);
  const std::span<const std::byte> bytes = tensors_->Data(*tensor);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

double GoldenPrompts::Tolerance(const std::string& tensor) const {
  if (tensor == "router") return 2e-4;
  if (tensor == "logits_at") return 5e-3;
  return kToleranceFactor * worst_.at(tensor);
}

}  // namespace parrot
