#include "model/weights/weight_files.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/weights/model_file.h"
#include "model/weights/strict_json.h"

namespace parrot {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

// A name that stays inside the folder whatever the file system does with it.
bool IsPlainShardName(const std::string& name) {
  return absl::EndsWith(name, ".safetensors") && name.front() != '.' && name.size() <= 255 &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ||
                  c == '.';
         });
}

bool HasPickles(const std::string& dir) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end;
       it.increment(error)) {
    const std::string extension = it->path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth") return true;
  }
  return false;
}

absl::Status AddFile(const std::string& path, WeightFiles& weights) {
  ASSIGN_OR_RETURN(std::shared_ptr<const SafetensorsFile> file, SafetensorsFile::Open(path));
  const int file_idx = static_cast<int>(weights.files.size());
  for (const SafetensorsTensor& tensor : file->tensors()) {
    const auto [it, inserted] =
        weights.tensors.try_emplace(tensor.name, WeightLocation{file_idx, &tensor});
    if (!inserted) {
      return ModelFileInvalid(
          file->base_name(),
          tensor.name,
          absl::StrCat("is also in ", weights.files[it->second.file_idx]->base_name()));
    }
  }
  weights.files.push_back(std::move(file));
  return absl::OkStatus();
}

// The index and the shards must tell the same story.
absl::Status CheckAgainstIndex(const std::map<std::string, std::string>& index,
                               const WeightFiles& weights) {
  for (const auto& [name, file] : index) {
    const auto it = weights.tensors.find(name);
    if (it == weights.tensors.end() || weights.files[it->second.file_idx]->base_name() != file) {
      return ModelFileInvalid(kIndexFile, name, absl::StrCat("is not in ", file));
    }
  }
  for (const auto& [name, location] : weights.tensors) {
    if (!index.contains(name)) {
      return ModelFileInvalid(weights.files[location.file_idx]->base_name(),
                              name,
                              absl::StrCat("is not in ", kIndexFile));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<WeightFiles> OpenShards(const std::string& dir) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadModelFile(ModelPath(dir, kIndexFile), kMaxModelJsonBytes));
  ASSIGN_OR_RETURN(const auto index, ParseWeightIndex(text));
  std::set<std::string> file_names;
  for (const auto& [tensor, file] : index) file_names.insert(file);
  if (file_names.size() > kMaxShards) {
    return ModelFileInvalid(kIndexFile,
                            "weight_map",
                            absl::StrCat("names more than ", kMaxShards, " files"),
                            absl::StrCat(file_names.size()),
                            absl::StrCat(kMaxShards));
  }
  WeightFiles weights;
  for (const std::string& file : file_names) {
    RETURN_IF_ERROR(AddFile(ModelPath(dir, file), weights));
  }
  RETURN_IF_ERROR(CheckAgainstIndex(index, weights));
  return weights;
}

}  // namespace

bool HasWeightFiles(const std::string& dir) {
  return ModelFileExists(ModelPath(dir, kSingleFile)) ||
         ModelFileExists(ModelPath(dir, kIndexFile));
}

absl::StatusOr<std::map<std::string, std::string>> ParseWeightIndex(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseStrictJson(kIndexFile, text));
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    return ModelFileInvalid(kIndexFile, "weight_map", "must be an object");
  }
  std::map<std::string, std::string> index;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    if (!file.is_string() || !IsPlainShardName(file.get<std::string>())) {
      return ModelFileInvalid(
          kIndexFile, tensor, "must name a .safetensors file in the same folder");
    }
    index.emplace(tensor, file.get<std::string>());
  }
  if (index.empty()) return ModelFileInvalid(kIndexFile, "weight_map", "is empty");
  return index;
}

absl::StatusOr<WeightFiles> OpenWeightFiles(const std::string& dir) {
  if (ModelFileExists(ModelPath(dir, kSingleFile))) {
    WeightFiles weights;
    RETURN_IF_ERROR(AddFile(ModelPath(dir, kSingleFile), weights));
    return weights;
  }
  if (ModelFileExists(ModelPath(dir, kIndexFile))) return OpenShards(dir);
  if (HasPickles(dir)) {
    return ModelUnsupported(
        kSingleFile, {}, "no such file, and pickles (.bin, .pt) are refused: only safetensors");
  }
  return ModelFileMissing(kSingleFile, "no such file, and no model.safetensors.index.json");
}

}  // namespace parrot
