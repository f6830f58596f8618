#include "train/run_state.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <system_error>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/from_blob.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "model/runtime/device.h"
#include "model/weights/safetensors_file.h"
#include "model/weights/safetensors_writer.h"

namespace parrot {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kCheckpointPrefix[] = "checkpoint-";
constexpr char kStateFile[] = "trainer_state.json";
constexpr char kOptimizerFile[] = "optimizer.safetensors";
constexpr int64_t kMaxShardBytes = 5'000'000'000;

absl::Status FileError(const std::error_code& error, std::string_view what) {
  return absl::InternalError(absl::StrCat(std::string(what), ": ", error.message()));
}

absl::StatusOr<std::string> ReadText(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path.filename().string(), ": cannot be read"));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::Status WriteText(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return absl::InternalError(absl::StrCat("cannot write ", path.filename().string()));
  return absl::OkStatus();
}

// A file of the base model that the trained one shares.
bool IsCarriedOver(const fs::path& path) {
  const std::string name = path.filename().string();
  return name != "config.json" && name != kStateFile && path.extension() != ".safetensors" &&
         name != "model.safetensors.index.json" && !name.starts_with(".");
}

SafetensorsType FileType(at::ScalarType type) {
  if (type == at::kBFloat16) return SafetensorsType::kBF16;
  if (type == at::kHalf) return SafetensorsType::kF16;
  return SafetensorsType::kF32;
}

// Tensors on their way to a file: contiguous, on the host.
class EntryList {
 public:
  void Add(const std::string& name, const at::Tensor& tensor, at::ScalarType type) {
    const at::Tensor host = tensor.detach().to(at::kCPU, type).contiguous();
    tensors_.push_back(host);
    bytes_ += static_cast<int64_t>(host.nbytes());
    entries_.push_back({.name = name,
                        .type = FileType(type),
                        .shape = host.sizes().vec(),
                        .bytes = {static_cast<const std::byte*>(host.const_data_ptr()),
                                  static_cast<size_t>(host.nbytes())}});
  }
  int64_t bytes() const { return bytes_; }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  absl::Status Write(const fs::path& path) const {
    return WriteSafetensors(path.string(), entries_, {{"format", "pt"}});
  }

 private:
  std::vector<at::Tensor> tensors_;  // keep the bytes
  std::vector<SafetensorsEntry> entries_;
  int64_t bytes_ = 0;
};

// Which shard each tensor goes to: in order, a new one before the limit is passed.
std::vector<std::vector<const TensorSpec*>> PlanShards(const std::vector<TensorSpec>& specs,
                                                       DataType dtype) {
  std::vector<std::vector<const TensorSpec*>> shards(1);
  int64_t filled = 0;
  for (const TensorSpec& spec : specs) {
    const int64_t bytes = spec.num_elements() * DataTypeBytes(dtype);
    if (filled > 0 && filled + bytes > kMaxShardBytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(&spec);
    filled += bytes;
  }
  return shards;
}

absl::Status WriteWeights(const fs::path& dir, const Parameters& parameters, DataType dtype) {
  const auto shards = PlanShards(parameters.specs(), dtype);
  Json weight_map = Json::object();
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        shards.size() == 1
            ? "model.safetensors"
            : absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, shards.size());
    EntryList entries;
    for (const TensorSpec* spec : shards[i]) {
      entries.Add(spec->name, parameters.Value(spec->name), ToScalarType(dtype));
      weight_map[spec->name] = name;
    }
    total += entries.bytes();
    RETURN_IF_ERROR(entries.Write(dir / name));
  }
  if (shards.size() == 1) return absl::OkStatus();
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  return WriteText(dir / "model.safetensors.index.json", index.dump(2) + "\n");
}

absl::Status WriteConfig(const fs::path& dir, const ModelFiles& files) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(fs::path(files.base_dir) / "config.json"));
  Json config = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::InvalidArgumentError("config.json: is no JSON object");
  config.update(files.config_changes);
  config["torch_dtype"] = DataTypeName(files.dtype);
  return WriteText(dir / "config.json", config.dump(2) + "\n");
}

// Runs `fill` on <dir>.partial and renames it.
absl::Status WriteFolder(const fs::path& dir,
                         const std::function<absl::Status(const std::string&)>& fill) {
  const fs::path partial = dir.string() + ".partial";
  std::error_code error;
  fs::remove_all(partial, error);
  fs::create_directories(partial, error);
  if (error) return FileError(error, "cannot make a folder in the output folder");
  RETURN_IF_ERROR(fill(partial.string()));
  fs::remove_all(dir, error);
  fs::rename(partial, dir, error);
  return error ? FileError(error, "cannot rename the finished folder") : absl::OkStatus();
}

// Steps of the complete checkpoints, rising.
std::vector<int64_t> CheckpointSteps(const std::string& output_dir) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(output_dir, error)) {
    const std::string name = entry.path().filename().string();
    int64_t step = 0;
    if (name.starts_with(kCheckpointPrefix) &&
        absl::SimpleAtoi(name.substr(sizeof(kCheckpointPrefix) - 1), &step)) {
      steps.push_back(step);
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

fs::path CheckpointPath(const std::string& output_dir, int64_t step) {
  return fs::path(output_dir) / absl::StrCat(kCheckpointPrefix, step);
}

absl::Status WriteOptimizer(const fs::path& path,
                            const std::vector<TrainedTensor>& tensors,
                            AdamW& optimizer) {
  EntryList entries;
  for (size_t i = 0; i < tensors.size(); ++i) {
    entries.Add(tensors[i].name, tensors[i].master, at::kFloat);
    entries.Add("exp_avg." + tensors[i].name, optimizer.first_moments()[i], at::kFloat);
    entries.Add("exp_avg_sq." + tensors[i].name, optimizer.second_moments()[i], at::kFloat);
  }
  return entries.Write(path);
}

absl::Status ReadTensor(const SafetensorsFile& file,
                        const std::string& name,
                        const at::Tensor& target) {
  const SafetensorsTensor* found = file.Find(name);
  if (found == nullptr || found->type != SafetensorsType::kF32 ||
      found->shape != target.sizes().vec()) {
    return absl::FailedPreconditionError(
        absl::StrCat(kOptimizerFile, ": has no fitting tensor ", name));
  }
  const at::NoGradGuard no_grad;
  const std::span<const std::byte> bytes = file.Data(*found);
  target.copy_(at::from_blob(
      const_cast<std::byte*>(bytes.data()), found->shape, at::TensorOptions().dtype(at::kFloat)));
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteModelFolder(const std::string& dir,
                              const ModelFiles& files,
                              const Parameters& parameters) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(files.base_dir, error)) {
    if (!entry.is_regular_file() || !IsCarriedOver(entry.path())) continue;
    fs::copy_file(entry.path(),
                  fs::path(dir) / entry.path().filename(),
                  fs::copy_options::overwrite_existing,
                  error);
    if (error) break;
  }
  if (error) return FileError(error, "cannot copy the files of the base model");
  RETURN_IF_ERROR(WriteConfig(dir, files));
  return CatchTorchErrors("writing weights",
                          [&] { return WriteWeights(dir, parameters, files.dtype); });
}

absl::Status SaveModel(const std::string& dir,
                       const ModelFiles& files,
                       const Parameters& parameters) {
  return WriteFolder(
      dir, [&](const std::string& path) { return WriteModelFolder(path, files, parameters); });
}

absl::Status SaveCheckpoint(const std::string& output_dir,
                            const ModelFiles& files,
                            const Parameters& parameters,
                            const std::vector<TrainedTensor>& tensors,
                            AdamW& optimizer,
                            const RunPosition& position) {
  RETURN_IF_ERROR(WriteFolder(
      CheckpointPath(output_dir, position.step), [&](const std::string& path) -> absl::Status {
        RETURN_IF_ERROR(WriteModelFolder(path, files, parameters));
        RETURN_IF_ERROR(WriteOptimizer(fs::path(path) / kOptimizerFile, tensors, optimizer));
        const Json state = {{"step", position.step}, {"plan", position.plan}};
        return WriteText(fs::path(path) / kStateFile, state.dump(2) + "\n");
      }));
  std::error_code ignored;
  for (const int64_t step : CheckpointSteps(output_dir)) {
    if (step != position.step) fs::remove_all(CheckpointPath(output_dir, step), ignored);
  }
  return absl::OkStatus();
}

absl::Status RemoveCheckpoints(const std::string& output_dir) {
  std::error_code error;
  for (const int64_t step : CheckpointSteps(output_dir)) {
    fs::remove_all(CheckpointPath(output_dir, step), error);
    if (error) return FileError(error, "cannot remove a checkpoint");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<RunPosition>> ResumeCheckpoint(
    const std::string& output_dir,
    const Json& plan,
    const std::vector<TrainedTensor>& tensors,
    AdamW& optimizer) {
  const std::vector<int64_t> steps = CheckpointSteps(output_dir);
  if (steps.empty()) return std::nullopt;
  const fs::path dir = CheckpointPath(output_dir, steps.back());
  ASSIGN_OR_RETURN(const std::string text, ReadText(dir / kStateFile));
  const Json state = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!state.is_object() || !state.contains("step") || !state["step"].is_number_integer()) {
    return absl::InvalidArgumentError(absl::StrCat(kStateFile, ": is damaged"));
  }
  if (state.value("plan", Json()) != plan) {
    return absl::FailedPreconditionError(
        "the output folder holds a run with other data or options: resume it with the same ones, "
        "or choose another folder");
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const SafetensorsFile> file,
                   SafetensorsFile::Open((dir / kOptimizerFile).string()));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string& name = tensors[i].name;
    RETURN_IF_ERROR(ReadTensor(*file, name, tensors[i].master));
    RETURN_IF_ERROR(ReadTensor(*file, "exp_avg." + name, optimizer.first_moments()[i]));
    RETURN_IF_ERROR(ReadTensor(*file, "exp_avg_sq." + name, optimizer.second_moments()[i]));
  }
  const RunPosition position = {.step = state["step"], .plan = plan};
  optimizer.SetSteps(position.step);
  PublishMasters(tensors);
  return position;
}

}  // namespace parrot
