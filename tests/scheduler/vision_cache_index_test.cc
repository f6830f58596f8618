#include "scheduler/vision_cache_index.h"

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
  index.BeginEncode(image, /*step_id=*/4);
  EXPECT_EQ(index.state(image), State::kEncoding);
  EXPECT_EQ(index.encode_step(image), 4u);
  EXPECT_EQ(index.num_encoding(), 1);
  EXPECT_TRUE(index.FinishEncode(image, /*done_step=*/6));
  EXPECT_EQ(index.state(image), State::kReady);
  index.Release(image, &evicted);
  EXPECT_TRUE(evicted.empty());
  index.Release(image, &evicted);
  EXPECT_THAT(evicted, testing::ElementsAre(image));
  EXPECT_EQ(index.num_images(), 0);
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
  index.BeginEncode(image, 1);
  index.Release(image, &evicted);
  EXPECT_THAT(evicted, testing::ElementsAre(image));
  EXPECT_EQ(index.num_encoding(), 0);
  EXPECT_FALSE(index.FinishEncode(image, 1));
  index.AddRef(image);
  index.BeginEncode(image, 2);
  EXPECT_FALSE(index.FinishEncode(image, 1)) << "step 1 had the evicted job";
  EXPECT_FALSE(index.AbortEncode(image, 1));
  EXPECT_EQ(index.state(image), State::kEncoding);
  EXPECT_TRUE(index.FinishEncode(image, 2));
}

TEST(VisionCacheIndexTest, ALostEncodeMayBeTriedAgain) {
  VisionCacheIndex index;
  const ImageHash image = TestImage(1).hash;
  index.AddRef(image);
  index.BeginEncode(image, 1);
  EXPECT_TRUE(index.AbortEncode(image, 1));
  EXPECT_EQ(index.state(image), State::kAbsent);
  EXPECT_FALSE(index.AbortEncode(image, 1));
  index.BeginEncode(image, 2);
  EXPECT_TRUE(index.FinishEncode(image, 2));
}

TEST(VisionCacheIndexTest, AgreesWithANaiveTwin) {
  struct Twin {
    int users = 0;
    State state = State::kAbsent;
    uint64_t step = 0;
  };
  for (uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    VisionCacheIndex index;
    std::map<int, Twin> twins;
    for (uint64_t step = 1; step <= 5'000; ++step) {
      const int id = static_cast<int>(random() % 6);
      const ImageHash image = TestImage(id).hash;
      const bool known = twins.contains(id);
      const uint64_t done = step - std::min<uint64_t>(step, random() % 8);
      switch (random() % 5) {
        case 0:
          index.AddRef(image);
          ++twins[id].users;
          break;
        case 1: {
          if (!known) break;
          std::vector<ImageHash> evicted;
          index.Release(image, &evicted);
          const bool last = --twins[id].users == 0;
          ASSERT_EQ(evicted.size(), last && twins[id].state != State::kAbsent ? 1u : 0u);
          if (last) twins.erase(id);
          break;
        }
        case 2:
          if (!known || twins[id].state != State::kAbsent) break;
          index.BeginEncode(image, step);
          twins[id].state = State::kEncoding;
          twins[id].step = step;
          break;
        default: {
          const bool current =
              known && twins[id].state == State::kEncoding && twins[id].step <= done;
          const bool finishes = random() % 2 == 0;
          ASSERT_EQ(finishes ? index.FinishEncode(image, done) : index.AbortEncode(image, done),
                    current);
          if (current) twins[id].state = finishes ? State::kReady : State::kAbsent;
        }
      }
      int num_encoding = 0;
      for (const auto& [other, twin] : twins) {
        ASSERT_EQ(index.state(TestImage(other).hash), twin.state);
        if (twin.state == State::kEncoding) ++num_encoding;
      }
      ASSERT_EQ(index.num_images(), static_cast<int32_t>(twins.size()));
      ASSERT_EQ(index.num_encoding(), num_encoding);
    }
  }
}

}  // namespace
}  // namespace parrot
