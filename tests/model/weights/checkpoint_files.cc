#include "tests/model/weights/checkpoint_files.h"

#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/check.h"
#include "model/weights/checkpoint.h"
#include "model/weights/dummy_weights.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

struct SplitFile {
  Json header;
  std::string data;
};

SplitFile Split(const std::string& path) {
  const std::string bytes = ReadBytes(path);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  return {Json::parse(bytes.substr(8, header_bytes)), bytes.substr(8 + header_bytes)};
}

}  // namespace

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "parrot-test-XXXXXX").string();
  PARROT_CHECK(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TempDir::~TempDir() { std::filesystem::remove_all(path_); }

std::string GoldenCheckpoint(std::string_view name) {
  return GoldenPath(std::string("checkpoints/").append(name));
}

std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  PARROT_CHECK(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void WriteBytes(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  PARROT_CHECK(file.good()) << path;
}

void CopyCheckpoint(std::string_view name, const std::string& dir) {
  for (const auto& entry : std::filesystem::directory_iterator(GoldenCheckpoint(name))) {
    const std::string file = entry.path().filename().string();
    const bool wanted = file.starts_with("model") || file == "config.json" ||
                        file == "vision_config.json" || file == "preprocessor_config.json";
    if (wanted) std::filesystem::copy(entry.path(), dir + "/" + file);
  }
}

void WriteTinyCheckpoint(TinyKind kind, const std::string& dir) {
  const bool sharded = kind == TinyKind::kSharded;
  const Json config = {{"model_type", "parrot_qwen2"},
                       {"hidden_size", 32},
                       {"intermediate_size", 48},
                       {"num_hidden_layers", 2},
                       {"num_attention_heads", 4},
                       {"num_key_value_heads", sharded ? 2 : 4},
                       {"vocab_size", 40},
                       {"rope_theta", 1e6},
                       {"tie_word_embeddings", sharded},
                       {"mm_hidden_size", 64},
                       {"num_experts", 6},
                       {"moe_intermediate_size", 24},
                       {"moe_weight", 0.1},
                       {"torch_dtype", sharded ? "bfloat16" : "float32"}};
  const Json vision = {{"vision_config",
                        {{"hidden_size", 64},
                         {"intermediate_size", 96},
                         {"num_hidden_layers", 3},
                         {"num_attention_heads", 4},
                         {"image_size", 28},
                         {"patch_size", 14}}}};
  WriteBytes(dir + "/config.json", config.dump());
  WriteBytes(dir + "/vision_config.json", vision.dump());
  WriteBytes(dir + "/preprocessor_config.json", R"({"size": 28, "crop_size": 28})");
  const absl::StatusOr<ModelConfig> parsed = LoadModelConfig(dir);
  PARROT_CHECK(parsed.ok()) << parsed.status();

  const DummyWeights weights(*parsed, /*seed=*/1);
  std::vector<std::vector<RawTensor>> shards(sharded ? 3 : 1);
  Json index = Json::object();
  for (const TensorSpec& spec : weights.tensors()) {
    const TensorView view = *weights.Get(spec.name);
    const size_t shard = static_cast<size_t>(spec.part) % shards.size();
    shards[shard].push_back(
        {spec.name,
         sharded ? "BF16" : "F32",
         spec.shape,
         std::string(reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size())});
    index["weight_map"][spec.name] =
        "model-0000" + std::to_string(shard + 1) + "-of-00003.safetensors";
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string shard = "/model-0000" + std::to_string(i + 1) + "-of-00003.safetensors";
    WriteBytes(dir + (sharded ? shard : "/model.safetensors"), SafetensorsBytes(shards[i]));
  }
  if (sharded) WriteBytes(dir + "/model.safetensors.index.json", index.dump());
}

void EditJson(const std::string& path, const std::function<void(Json&)>& edit) {
  Json json = Json::parse(ReadBytes(path));
  edit(json);
  WriteBytes(path, json.dump());
}

void EditHeader(const std::string& path, const std::function<void(Json&)>& edit) {
  SplitFile file = Split(path);
  edit(file.header);
  WriteBytes(path, SafetensorsBytes(file.header.dump(), file.data, /*padded=*/true));
}

std::string SafetensorsBytes(std::string_view header, std::string_view data, bool padded) {
  std::string text(header);
  if (padded) text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t size = text.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes.append(text).append(data);
}

std::string SafetensorsBytes(const std::vector<RawTensor>& tensors) {
  Json header = Json::object();
  std::string data;
  for (const RawTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.data.size()}}};
    data += tensor.data;
  }
  return SafetensorsBytes(header.dump(), data, /*padded=*/true);
}

std::vector<RawTensor> ReadTensors(const std::string& path) {
  const SplitFile file = Split(path);
  std::vector<RawTensor> tensors;
  for (const auto& [name, entry] : file.header.items()) {
    if (name == "__metadata__") continue;
    const size_t begin = entry["data_offsets"][0];
    const size_t end = entry["data_offsets"][1];
    tensors.push_back({name, entry["dtype"], entry["shape"], file.data.substr(begin, end - begin)});
  }
  return tensors;
}

}  // namespace parrot
