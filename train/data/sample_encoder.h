// A conversation as token ids and labels, as the reference's data code makes them.
//
// Labels say what is learned: kIgnoredLabel everywhere but in the assistant's turns, there from
// after the role header to <|im_end|> and, when more turns follow, the newline after it. Tokens
// whose label is kIgnoredLabel feed the router.
//
// Strings of control tokens in the text become those tokens, as in the reference: training data are
// the operator's own. Immutable after construction, thread-safe.
#ifndef PARROT_TRAIN_DATA_SAMPLE_ENCODER_H_
#define PARROT_TRAIN_DATA_SAMPLE_ENCODER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/token.h"
#include "model/text/tokenizer.h"
#include "train/data/training_sample.h"

namespace parrot {

inline constexpr TokenId kIgnoredLabel = -100;

struct EncodedSample {
  std::vector<TokenId> ids;     // kVisualToken: the place of the image
  std::vector<TokenId> labels;  // as many
};

// What the model is given of a sample: truncated, without padding, the image's place apart.
struct ModelText {
  std::vector<TokenId> ids;
  std::vector<TokenId> labels;
  int32_t image_at = -1;  // the image's rows stand before ids[image_at]; -1: no image
};

class SampleEncoder {
 public:
  // `tokenizer` outlives the encoder. `max_length` is the training length in rows.
  SampleEncoder(const Tokenizer& tokenizer, int32_t max_length);

  // INVALID_ARGUMENT: invalid UTF-8, more than one image place, or one without an image.
  absl::StatusOr<EncodedSample> Encode(const TrainingSample& sample) const;

  // Cut to the training length, then <|endoftext|> dropped (it is the reference's padding), the
  // image's place taken out. With the image's rows put in, the whole may again be longer than
  // max_length(): the language model sees the first max_length() rows, the router all text.
  ModelText Prepare(const EncodedSample& sample) const;

  int32_t max_length() const { return max_length_; }

 private:
  absl::Status AppendTurn(const TrainingTurn& turn, bool is_last, EncodedSample* out) const;

  const Tokenizer& tokenizer_;
  const int32_t max_length_;
};

}  // namespace parrot

#endif  // PARROT_TRAIN_DATA_SAMPLE_ENCODER_H_
