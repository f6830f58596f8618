// Files for the tests of model/weights: temporary folders, checkpoints made by changing a golden
// one, safetensors files made byte by byte.
#ifndef PARROT_TESTS_MODEL_WEIGHTS_CHECKPOINT_FILES_H_
#define PARROT_TESTS_MODEL_WEIGHTS_CHECKPOINT_FILES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "nlohmann/json.hpp"

namespace parrot {

// A folder of its own, removed at the end.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

inline constexpr const char* kGoldenCheckpoints[] = {"nano-mha", "nano-gqa", "nano-7bshape"};
std::string GoldenCheckpoint(std::string_view name);

std::string ReadBytes(const std::string& path);
void WriteBytes(const std::string& path, std::string_view bytes);
// Copies the configuration and weight files of a golden checkpoint.
void CopyCheckpoint(std::string_view name, const std::string& dir);
// A checkpoint of a few kilobytes: 2 layers of 32 channels, 3 tower layers of 64 (28 px, 4 heads),
// 6 experts. kSingle is untied float32 in one file, kSharded tied bfloat16 in three shards.
enum class TinyKind { kSingle, kSharded };
void WriteTinyCheckpoint(TinyKind kind, const std::string& dir);
// Rewrites a JSON file of `dir`.
void EditJson(const std::string& path, const std::function<void(nlohmann::json&)>& edit);
// Rewrites the header of a safetensors file; the data stays.
void EditHeader(const std::string& path, const std::function<void(nlohmann::json&)>& edit);

// Length prefix, header, data. `padded`: to a multiple of eight, as writers do.
std::string SafetensorsBytes(std::string_view header, std::string_view data, bool padded = false);

// One tensor to be written.
struct RawTensor {
  std::string name;
  std::string dtype = "F32";
  std::vector<int64_t> shape;
  std::string data;
};
std::string SafetensorsBytes(const std::vector<RawTensor>& tensors);
// The tensors of a file, with their bytes.
std::vector<RawTensor> ReadTensors(const std::string& path);

}  // namespace parrot

#endif  // PARROT_TESTS_MODEL_WEIGHTS_CHECKPOINT_FILES_H_
