// PackedFile: the memory of a model's packed weights, in a file. The first process that packs a
// model writes it; later ones map it read-only, share its pages, and neither read the checkpoint
// nor pack.
//
// There is no index: handles take their memory in the order in which a model makes them, which the
// key fixes: it stands for the checkpoint, the instruction set, the formats and the layout. The
// file is named by its key, so files of other models or formats may lie beside it.
//
// The file is written while weights are packed (so they are in memory once), under the name
// `.partial`, locked; whoever finds the lock taken does without. A crash leaves a `.partial` that
// the next process begins anew. What cannot be written (a read-only folder, a full disk) is no
// error: outcome() says why.
//
// The folder is trusted as the checkpoint's is. Confined to the thread that loads.
#ifndef PARROT_MODEL_BACKEND_CPU_PACKED_FILE_H_
#define PARROT_MODEL_BACKEND_CPU_PACKED_FILE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "model/kernels/aligned_buffer.h"

namespace parrot {

class PackedFile {
 public:
  PackedFile(const std::string& dir, const Sha256Digest& key);
  ~PackedFile();
  PackedFile(const PackedFile&) = delete;
  PackedFile& operator=(const PackedFile&) = delete;

  // True: what Take returns holds its bytes already, and is read-only.
  bool is_filled() const { return mode_ == Mode::kMapped; }
  // The next `size` bytes. Zeros, to be filled before Commit, unless is_filled(). Throws
  // std::runtime_error when a filled file is at its end: it is not this model's.
  kernels::AlignedBuffer Take(size_t size);
  // After the last Take: gives the file its name. The memory becomes read-only.
  void Commit();

  // "mapped", "written", or "not written: " and the cause.
  const std::string& outcome() const { return outcome_; }

 private:
  enum class Mode { kOff, kMapped, kWriting };

  bool MapExisting();
  bool BeginWriting();
  void GiveUp(const char* cause);
  void* Map(size_t size, int protection);

  const std::string path_;
  const Sha256Digest key_;
  Mode mode_ = Mode::kOff;
  int fd_ = -1;
  uint64_t size_ = 0;  // taken so far, with the header
  uint64_t file_size_ = 0;
  std::vector<std::span<std::byte>> taken_;
  std::string outcome_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_BACKEND_CPU_PACKED_FILE_H_
