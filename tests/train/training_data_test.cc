// Training data against the reference's data code: order, token ids, labels, pictures.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/api/pixel_normalization.h"
#include "model/text/tokenizer.h"
#include "model/weights/checkpoint.h"
#include "nlohmann/json.hpp"
#include "tests/golden_reader/golden_reader.h"
#include "train/data/picture_reader.h"
#include "train/data/prefetcher.h"
#include "train/data/sample_encoder.h"
#include "train/data/training_sample.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

class TrainingDataTest : public testing::Test {
 protected:
  TrainingDataTest() : golden_(ReadJsonLines("training/nano-mha.samples.jsonl")) {
    Json list = Json::array();
    for (const Json& line : golden_) list.push_back(line);
    samples_ = *ParseTrainingSamples("golden", list.dump(), GoldenPath(""));
    tokenizer_ = *Tokenizer::Load(GoldenPath("checkpoints/nano-mha"));
  }

  const std::vector<Json> golden_;
  std::vector<TrainingSample> samples_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TrainingDataTest, ShufflesAsTheReference) {
  std::vector<TrainingSample> sorted = samples_;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  ShuffleAsReference(&sorted);
  for (size_t i = 0; i < sorted.size(); ++i) EXPECT_EQ(sorted[i].id, samples_[i].id) << i;
}

TEST_F(TrainingDataTest, IdsAndLabelsAreTheReferences) {
  const SampleEncoder encoder(*tokenizer_, 2048);
  for (size_t i = 0; i < samples_.size(); ++i) {
    const auto encoded = encoder.Encode(samples_[i]);
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_EQ(encoded->ids, golden_[i]["input_ids"].get<std::vector<TokenId>>()) << samples_[i].id;
    EXPECT_EQ(encoded->labels, golden_[i]["labels"].get<std::vector<TokenId>>()) << samples_[i].id;
  }
}

TEST_F(TrainingDataTest, PicturesAreTheReferencesAndUnreadableOnesAreCounted) {
  const ModelConfig config = *LoadModelConfig(GoldenPath("checkpoints/nano-mha"));
  const PixelNormalization normalization(config.image_processor);
  std::vector<std::string> unreadable;
  const PictureReader reader(
      config, [&](const std::string& path, const absl::Status&) { unreadable.push_back(path); });
  int64_t expected_unreadable = 0;
  for (size_t i = 0; i < samples_.size(); ++i) {
    if (samples_[i].image_path.empty()) continue;
    const auto pixels = reader.Read(samples_[i].image_path);
    std::vector<float> values(pixels->size());
    normalization.Apply(*pixels, config.vision.image_size, values.data());
    double sum = 0.0, abs_sum = 0.0;
    for (const float value : values) {
      sum += value;
      abs_sum += std::abs(value);
    }
    const double expected_sum = golden_[i]["image_sum"], expected_abs = golden_[i]["image_abs_sum"];
    // Decoders differ in single pixels by one level, which is 0.015 here.
    EXPECT_NEAR(sum, expected_sum, 20.0) << samples_[i].id;
    EXPECT_NEAR(abs_sum, expected_abs, 20.0) << samples_[i].id;
    expected_unreadable += std::abs(expected_sum + 2685.05289003253) < 1e-6 ? 1 : 0;
  }
  EXPECT_EQ(reader.num_unreadable(), expected_unreadable);
  EXPECT_EQ(unreadable.size(), static_cast<size_t>(expected_unreadable));
}

TEST_F(TrainingDataTest, RefusesWhatTheReferenceFailsOnLater) {
  for (const char* json : {"{}",
                           "[1]",
                           R"([{"conversations": []}])",
                           R"([{"conversations": [{"from": "robot", "value": "x"}]}])"}) {
    EXPECT_FALSE(ParseTrainingSamples("x.json", json, "").ok()) << json;
  }
  const SampleEncoder encoder(*tokenizer_, 2048);
  TrainingSample sample = {.turns = {{.role = ChatRole::kUser, .text = "<image>"},
                                     {.role = ChatRole::kAssistant, .text = "A cat."}}};
  EXPECT_FALSE(encoder.Encode(sample).ok());
  sample.image_path = "cat.png";
  EXPECT_TRUE(encoder.Encode(sample).ok());
  sample.turns.push_back({.role = ChatRole::kUser, .text = "<image> again"});
  EXPECT_FALSE(encoder.Encode(sample).ok());
}

TEST_F(TrainingDataTest, NewlineAfterAnAnswerIsLearnedUnlessItIsTheLast) {
  const SampleEncoder encoder(*tokenizer_, 2048);
  const TrainingSample sample = {.turns = {{.role = ChatRole::kUser, .text = "a"},
                                           {.role = ChatRole::kAssistant, .text = "b"},
                                           {.role = ChatRole::kUser, .text = "c"},
                                           {.role = ChatRole::kAssistant, .text = "d"}}};
  const EncodedSample encoded = *encoder.Encode(sample);
  std::vector<TokenId> learned;
  for (const TokenId label : encoded.labels) {
    if (label != kIgnoredLabel) learned.push_back(label);
  }
  EXPECT_EQ(tokenizer_->Decode(learned, /*skip_special=*/false), "b<|im_end|>\nd<|im_end|>");
}

TEST_F(TrainingDataTest, CutsToTheTrainingLengthAndDropsPadding) {
  const TrainingSample sample = {
      .image_path = "cat.png",
      .turns = {{.role = ChatRole::kUser, .text = "<image>\na"},
                {.role = ChatRole::kAssistant, .text = "b<|endoftext|>c and much more after it"}}};
  const EncodedSample whole = *SampleEncoder(*tokenizer_, 2048).Encode(sample);
  const SampleEncoder encoder(*tokenizer_, static_cast<int32_t>(whole.ids.size()) - 3);
  const ModelText text = encoder.Prepare(whole);
  EXPECT_EQ(text.ids.size(), whole.ids.size() - 3 - 2);  // image place and <|endoftext|>
  EXPECT_EQ(text.labels.size(), text.ids.size());
  EXPECT_EQ(whole.ids[static_cast<size_t>(text.image_at)], kVisualToken);
  EXPECT_EQ(std::count(text.ids.begin(), text.ids.end(), tokenizer_->end_of_text_id()), 0);
}

TEST(PrefetcherTest, HandsOutInOrderWhateverTheThreads) {
  Prefetcher<int64_t> prefetcher(5, 205, 7, 3, [](int64_t i) { return i * i; });
  for (int64_t i = 5; i < 205; ++i) EXPECT_EQ(prefetcher.Take(), i * i);
}

TEST(PrefetcherTest, EndsWithItemsLeft) {
  Prefetcher<int64_t> prefetcher(0, 1'000'000, 4, 2, [](int64_t i) { return i; });
  EXPECT_EQ(prefetcher.Take(), 0);
}

}  // namespace
}  // namespace parrot
