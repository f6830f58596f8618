// Pictures for training: file -> [size, size, 3] bytes, as the server makes them of a request. What
// cannot be read becomes a plain picture of the mean colour, as in the reference, and is counted.
// Thread-safe.
#ifndef PARROT_TRAIN_DATA_PICTURE_READER_H_
#define PARROT_TRAIN_DATA_PICTURE_READER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/api/image_input.h"
#include "model/api/model_config.h"
#include "model/image/clip_image_processor.h"

namespace parrot {

class PictureReader {
 public:
  // Called for each unreadable picture, from the thread that reads it; may be empty.
  using OnUnreadable = std::function<void(const std::string& path, const absl::Status& why)>;

  PictureReader(const ModelConfig& config, OnUnreadable on_unreadable);

  std::shared_ptr<const ImagePixels> Read(const std::string& path) const;

  // Calls of Read that gave the plain picture.
  int64_t num_unreadable() const { return num_unreadable_.load(); }

 private:
  absl::StatusOr<ImagePixels> Decode(const std::string& path) const;

  const ClipImageProcessor processor_;
  const std::shared_ptr<const ImagePixels> plain_;
  const OnUnreadable on_unreadable_;
  mutable std::atomic<int64_t> num_unreadable_ = 0;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_DATA_PICTURE_READER_H_
