#include "scheduler/vision_cache_index.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

using State = VisionCacheIndex::State;

TEST(VisionCacheIndexTest, EncodesOnceAndEvictsWithTheLastUser) {
  VisionCacheIndex index;
  const ImageHash image = TestImage(1).hash;
  std::vector<ImageHash> evicted;
  index.AddRef(image);
  index.AddRef(image);
  EXPECT_EQ(index.state(image), State::kAbsent);
  index.BeginEncode(image, /*step_id=*/4, &evicted);
  EXPECT_EQ(index.state(image), State::kEncoding);
  EXPECT_EQ(index.encode_step(image), 4u);
  EXPECT_EQ(index.num_encoding(), 1);
  EXPECT_TRUE(index.FinishEncode(image, /*done_step=*/6));
  EXPECT_EQ(index.state(image), State::kReady);
  index.Release(image, &evicted);
  EXPECT_TRUE(evicted.empty());
  index.Release(image, &evicted);
  EXPECT_THAT(evicted, testing::ElementsAre(image));
  EXPECT_EQ(index.num_used(), 0);
  EXPECT_EQ(index.num_present(), 0);
}

TEST(VisionCacheIndexTest, EvictsNothingThatWasNeverEncoded) {
  VisionCacheIndex index;
  std::vector<ImageHash> evicted;
  index.AddRef(TestImage(1).hash);
  index.Release(TestImage(1).hash, &evicted);
  EXPECT_TRUE(evicted.empty());
}

TEST(VisionCacheIndexTest, IgnoresNewsOfAnEvictedImage) {
  VisionCacheIndex index;
  const ImageHash image = TestImage(1).hash;
  std::vector<ImageHash> evicted;
  index.AddRef(image);
  index.BeginEncode(image, 1, &evicted);
  index.Release(image, &evicted);
  EXPECT_THAT(evicted, testing::ElementsAre(image));
  EXPECT_EQ(index.num_encoding(), 0);
  EXPECT_FALSE(index.FinishEncode(image, 1));
  index.AddRef(image);
  index.BeginEncode(image, 2, &evicted);
  EXPECT_FALSE(index.FinishEncode(image, 1)) << "step 1 had the evicted job";
  EXPECT_FALSE(index.AbortEncode(image, 1));
  EXPECT_EQ(index.state(image), State::kEncoding);
  EXPECT_TRUE(index.FinishEncode(image, 2));
}

TEST(VisionCacheIndexTest, ALostEncodeMayBeTriedAgain) {
  VisionCacheIndex index;
  std::vector<ImageHash> evicted;
  const ImageHash image = TestImage(1).hash;
  index.AddRef(image);
  index.BeginEncode(image, 1, &evicted);
  EXPECT_TRUE(index.AbortEncode(image, 1));
  EXPECT_EQ(index.state(image), State::kAbsent);
  EXPECT_FALSE(index.AbortEncode(image, 1));
  index.BeginEncode(image, 2, &evicted);
  EXPECT_TRUE(index.FinishEncode(image, 2));
}

TEST(VisionCacheIndexTest, TheLayersOfATowerMayComeInSeveralSteps) {
  VisionCacheIndex index(/*max_images=*/0, /*num_layers=*/5);
  std::vector<ImageHash> evicted;
  const ImageHash image = TestImage(1).hash;
  index.AddRef(image);
  index.BeginEncode(image, 1, &evicted);
  EXPECT_THAT(index.unsubmitted(), testing::ElementsAre(image));
  EXPECT_EQ(index.SubmitLayers(image, 2, 1), 0);
  EXPECT_EQ(index.num_layers_left(image), 3);
  EXPECT_FALSE(index.EndsIn(image, 1));
  EXPECT_EQ(index.SubmitLayers(image, 3, 2), 2);
  EXPECT_THAT(index.unsubmitted(), testing::IsEmpty());
  EXPECT_TRUE(index.EndsIn(image, 2));
  EXPECT_FALSE(index.EndsIn(image, 1));
  EXPECT_TRUE(index.AbortEncode(image, 1)) << "a part that is lost loses the whole";
  index.BeginEncode(image, 3, &evicted);
  EXPECT_EQ(index.SubmitLayers(image, 4, 3), 0);
  index.Release(image, &evicted);
  EXPECT_THAT(evicted, testing::ElementsAre(image));
  EXPECT_THAT(index.unsubmitted(), testing::IsEmpty());
}

// Encodes an image, and lets go of it.
void UseOnce(VisionCacheIndex* index, int id, uint64_t step, std::vector<ImageHash>* evicted) {
  const ImageHash image = TestImage(id).hash;
  index->AddRef(image);
  if (index->state(image) == State::kAbsent) {
    index->BeginEncode(image, step, evicted);
    EXPECT_TRUE(index->FinishEncode(image, step));
  }
  index->Release(image, evicted);
}

TEST(VisionCacheIndexTest, KeepsUnusedImagesWithinTheBudgetAndEvictsTheOneNeededLongestAgo) {
  VisionCacheIndex index(/*max_images=*/2);
  std::vector<ImageHash> evicted;
  UseOnce(&index, 1, 1, &evicted);
  UseOnce(&index, 2, 2, &evicted);
  EXPECT_EQ(index.num_unused(), 2);
  UseOnce(&index, 1, 3, &evicted);  // needed again: now 2 is the oldest
  EXPECT_TRUE(evicted.empty());
  UseOnce(&index, 3, 4, &evicted);
  EXPECT_THAT(evicted, testing::ElementsAre(TestImage(2).hash));
  EXPECT_EQ(index.num_evictions(), 1);
  index.AddRef(TestImage(1).hash);
  EXPECT_EQ(index.state(TestImage(1).hash), State::kReady);
}

TEST(VisionCacheIndexTest, ImagesInUseArePinnedAndMayExceedTheBudget) {
  VisionCacheIndex index(/*max_images=*/1);
  std::vector<ImageHash> evicted;
  for (int id = 1; id <= 3; ++id) {
    index.AddRef(TestImage(id).hash);
    index.BeginEncode(TestImage(id).hash, 1, &evicted);
    EXPECT_TRUE(index.FinishEncode(TestImage(id).hash, 1));
  }
  EXPECT_TRUE(evicted.empty());
  EXPECT_EQ(index.num_present(), 3);
  index.Release(TestImage(2).hash, &evicted);
  EXPECT_THAT(evicted, testing::ElementsAre(TestImage(2).hash)) << "the pinned fill the budget";
  index.Release(TestImage(1).hash, &evicted);
  EXPECT_EQ(evicted.size(), 2u);
  index.Release(TestImage(3).hash, &evicted);
  EXPECT_EQ(evicted.size(), 2u);
  EXPECT_EQ(index.num_unused(), 1);
}

TEST(VisionCacheIndexTest, AFlushEvictsWhatNobodyUsesAndNothingElse) {
  VisionCacheIndex index(/*max_images=*/4);
  std::vector<ImageHash> evicted;
  UseOnce(&index, 1, 1, &evicted);
  UseOnce(&index, 2, 2, &evicted);
  index.AddRef(TestImage(2).hash);
  index.EvictUnused(&evicted);
  EXPECT_THAT(evicted, testing::ElementsAre(TestImage(1).hash));
  EXPECT_EQ(index.state(TestImage(2).hash), State::kReady);
}

// The plainest possible index: a map, and the order in which images lost their last user.
class TwinIndexes {
 public:
  explicit TwinIndexes(uint32_t seed)
      : random_(seed), budget_(static_cast<int64_t>(random_() % 5)), index_(budget_) {
    for (int id = 0; id < kNumImages; ++id) hashes_.push_back(TestImage(id).hash);
  }

  void OneOperation() {
    ++step_;
    const int id = static_cast<int>(random_() % kNumImages);
    std::vector<ImageHash> evicted;
    expected_evicted_.clear();
    const uint32_t choice = random_() % 32;
    if (choice == 0) {
      index_.EvictUnused(&evicted);
      EvictDownTo(0);
    } else if (choice < 10) {
      index_.AddRef(hashes_[id]);
      ++twins_[id].users;
      std::erase(unused_, id);
    } else if (choice < 19) {
      if (!IsUsed(id)) return;
      index_.Release(hashes_[id], &evicted);
      Release(id);
    } else if (choice < 26) {
      if (!IsUsed(id) || twins_[id].state != State::kAbsent) return;
      index_.BeginEncode(hashes_[id], step_, &evicted);
      EvictDownTo(budget_ - 1);
      twins_[id].state = State::kEncoding;
      twins_[id].step = step_;
    } else {
      ASSERT_NO_FATAL_FAILURE(News(id));
    }
    ASSERT_EQ(evicted, expected_evicted_);
    Compare();
  }

 private:
  static constexpr int kNumImages = 8;
  struct Twin {
    int users = 0;
    State state = State::kAbsent;
    uint64_t step = 0;
  };

  bool IsUsed(int id) const { return twins_.contains(id) && twins_.at(id).users > 0; }

  int64_t num_present() const {
    return std::count_if(twins_.begin(), twins_.end(), [](const auto& entry) {
      return entry.second.state != State::kAbsent;
    });
  }

  void EvictDownTo(int64_t num_images) {
    while (num_present() > num_images && !unused_.empty()) {
      expected_evicted_.push_back(hashes_[unused_.front()]);
      twins_.erase(unused_.front());
      unused_.erase(unused_.begin());
    }
  }

  void Release(int id) {
    if (--twins_[id].users > 0) return;
    if (twins_[id].state == State::kReady) {
      unused_.push_back(id);
      EvictDownTo(budget_);
      return;
    }
    if (twins_[id].state == State::kEncoding) expected_evicted_.push_back(hashes_[id]);
    twins_.erase(id);
  }

  // A result of some step, perhaps one from before the image was evicted and encoded anew.
  void News(int id) {
    const uint64_t done = step_ - std::min<uint64_t>(step_, random_() % 8);
    const bool current =
        twins_.contains(id) && twins_[id].state == State::kEncoding && twins_[id].step <= done;
    const bool finishes = random_() % 4 != 0;
    ASSERT_EQ(
        finishes ? index_.FinishEncode(hashes_[id], done) : index_.AbortEncode(hashes_[id], done),
        current);
    if (current) twins_[id].state = finishes ? State::kReady : State::kAbsent;
  }

  void Compare() {
    int32_t num_encoding = 0;
    for (const auto& [id, twin] : twins_) {
      if (twin.state == State::kEncoding) ++num_encoding;
      if (twin.users == 0) continue;
      ASSERT_EQ(index_.state(hashes_[id]), twin.state);
      if (twin.state == State::kEncoding) {
        ASSERT_EQ(index_.encode_step(hashes_[id]), twin.step);
      }
    }
    ASSERT_EQ(index_.num_encoding(), num_encoding);
    ASSERT_EQ(index_.num_present(), num_present());
    ASSERT_EQ(index_.num_unused(), static_cast<int32_t>(unused_.size()));
    ASSERT_EQ(index_.num_used(), static_cast<int32_t>(twins_.size() - unused_.size()));
  }

  std::mt19937 random_;
  const int64_t budget_;
  VisionCacheIndex index_;
  std::vector<ImageHash> hashes_;
  std::map<int, Twin> twins_;
  std::vector<int> unused_;  // needed longest ago first
  std::vector<ImageHash> expected_evicted_;
  uint64_t step_ = 0;
};

TEST(VisionCacheIndexTest, AgreesWithANaiveTwinForAMillionOperations) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    TwinIndexes indexes(seed);
    for (int i = 0; i < 10'000; ++i) {
      ASSERT_NO_FATAL_FAILURE(indexes.OneOperation()) << "operation " << i;
    }
  }
}

}  // namespace
}  // namespace parrot
