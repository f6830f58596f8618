// SafetensorsFile: one safetensors file, mapped read-only, its header checked before anything is
// handed out (see safetensors_header.h for the rules).
//
// A mapped file that somebody truncates raises SIGBUS on the next access to a lost page, and no
// check can close that window entirely. CheckUnchanged() compares size and modification time with
// those at Open and is called before each tensor is handed out; deployments mount checkpoints
// read-only.
#ifndef PARROT_MODEL_WEIGHTS_SAFETENSORS_FILE_H_
#define PARROT_MODEL_WEIGHTS_SAFETENSORS_FILE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/hash.h"
#include "model/weights/safetensors_header.h"

namespace parrot {

// Immutable after construction; thread-safe. Shared by the checkpoint and by the views of its
// tensors; the last one unmaps.
class SafetensorsFile {
 public:
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& base_name() const { return base_name_; }
  // By offset.
  const std::vector<SafetensorsTensor>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  // nullptr if there is none.
  const SafetensorsTensor* Find(std::string_view name) const;

  // The bytes of a tensor of this file, valid as long as the file object. They start wherever the
  // file puts them: writers align them to the element, the format does not promise it.
  // REQUIRES: `tensor` is one of tensors().
  std::span<const std::byte> Data(const SafetensorsTensor& tensor) const;
  // Tells the kernel that the tensor will be read now, front to back.
  void Prefetch(const SafetensorsTensor& tensor) const;
  // Tells it that the tensor was read: its pages no longer count as this process's memory. Data()
  // stays valid; who reads on, reads from the file again.
  void Release(const SafetensorsTensor& tensor) const;

  // Name, size, time of modification, header and some bytes of each tensor.
  void AddFingerprint(Sha256& hash) const;

  // DATA_LOSS when the file's size or modification time is no longer that of Open.
  absl::Status CheckUnchanged() const;

  // The JSON text, and the whole data section.
  std::string_view header_text() const;
  std::span<const std::byte> data() const;

 private:
  SafetensorsFile() = default;
  absl::Status Map(const std::string& path);
  void Advise(const SafetensorsTensor& tensor, int advice) const;

  std::string base_name_;
  int fd_ = -1;
  const std::byte* map_ = nullptr;
  uint64_t file_bytes_ = 0;
  uint64_t header_bytes_ = 0;
  int64_t modified_ns_ = 0;
  SafetensorsHeader header_;
  absl::flat_hash_map<std::string, const SafetensorsTensor*> by_name_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_SAFETENSORS_FILE_H_
