// Training data in LLaVA's form: JSON lists of conversations beside a folder of images.
//
//   [{"id": "7", "image": "a/b.jpg", "language": "en",
//     "conversations": [{"from": "human", "value": "<image>\nWhat is this?"},
//                       {"from": "gpt", "value": "A cat."}]}, ...]
//
// `from` is human, gpt or system; id, image and language are optional; other keys are ignored, so
// published data load as they are. Errors name the file's base name and the sample's index.
#ifndef PARROT_TRAIN_DATA_TRAINING_SAMPLE_H_
#define PARROT_TRAIN_DATA_TRAINING_SAMPLE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/text/chat_template.h"

namespace parrot {

struct TrainingTurn {
  ChatRole role = ChatRole::kUser;
  std::string text;  // as in the file; may hold "<image>"
};

struct TrainingSample {
  std::string id;          // empty if none
  std::string image_path;  // with the data set's folder in front; empty: text alone
  std::string language;    // empty if none; nothing but the router's warm start reads it
  std::vector<TrainingTurn> turns;
};

struct DataSetFiles {
  std::string json_path;
  std::string image_dir;  // may be empty: then image paths are relative to the JSON's folder
};

// The samples of one file's text, in its order. `name` is for errors.
absl::StatusOr<std::vector<TrainingSample>> ParseTrainingSamples(std::string_view name,
                                                                 std::string_view json,
                                                                 const std::string& image_dir);

// All data sets one after the other, shuffled as the reference does: ten times, by one
// Random(42) of Python.
absl::StatusOr<std::vector<TrainingSample>> LoadTrainingData(const std::vector<DataSetFiles>& sets);

// What that shuffle does to a list.
void ShuffleAsReference(std::vector<TrainingSample>* samples);

}  // namespace parrot

#endif  // PARROT_TRAIN_DATA_TRAINING_SAMPLE_H_
