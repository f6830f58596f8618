// Images by their digest: what is kept, for whom, how much, and that it is what was put.
#include "server/frontend/image_store.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

constexpr int64_t kPixels = 1000;

Sha256Digest Digest(int id) { return Sha256Of(absl::StrCat("file ", id)); }

// An image whose contents say which one it is.
StoredImage Image(int id, int64_t num_pixels = kPixels) {
  StoredImage image;
  image.input.hash = Sha256Of(absl::StrCat("pixels ", id));
  image.input.pixels = std::make_shared<const ImagePixels>(num_pixels, static_cast<uint8_t>(id));
  image.info.width = id;
  return image;
}

// Room for so many images of kPixels.
int64_t RoomFor(int num_images) { return num_images * ImageStore::CostOf(kPixels); }

TEST(ImageStoreTest, GivesBackWhatWasPut) {
  ImageStore store(RoomFor(2));
  EXPECT_FALSE(store.Find("a", Digest(1)).has_value());
  const StoredImage image = Image(1);
  store.Put("a", Digest(1), image);
  const std::optional<StoredImage> found = store.Find("a", Digest(1));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->input.pixels, image.input.pixels);  // shared, not copied
  EXPECT_EQ(found->input.hash, image.input.hash);
  EXPECT_EQ(found->info.width, 1);
  const ImageStore::Stats stats = store.stats();
  EXPECT_EQ(stats.num_queries, 2);
  EXPECT_EQ(stats.num_hits, 1);
  EXPECT_EQ(stats.num_images, 1);
  EXPECT_EQ(stats.num_bytes, RoomFor(1));
}

TEST(ImageStoreTest, ATenantFindsItsOwnImagesAlone) {
  ImageStore store(RoomFor(4));
  store.Put("a", Digest(1), Image(1));
  // Tenants whose names together with the digest would read alike.
  for (const std::string& tenant : {std::string("b"), std::string(), std::string("a\0", 2)}) {
    EXPECT_FALSE(store.Find(tenant, Digest(1)).has_value());
    EXPECT_FALSE(store.Touch(tenant, Digest(1)));
  }
  store.Put("b", Digest(1), Image(2));
  EXPECT_EQ(store.Find("a", Digest(1))->info.width, 1);
  EXPECT_EQ(store.Find("b", Digest(1))->info.width, 2);
}

TEST(ImageStoreTest, ForgetsTheOneUsedLongestAgo) {
  ImageStore store(RoomFor(3));
  for (int id = 1; id <= 3; ++id) store.Put("a", Digest(id), Image(id));
  EXPECT_TRUE(store.Find("a", Digest(1)).has_value());
  EXPECT_TRUE(store.Touch("a", Digest(2)));
  store.Put("a", Digest(4), Image(4));
  EXPECT_FALSE(store.Touch("a", Digest(3)));
  // An image that comes again counts as used, and stays what it was.
  store.Put("a", Digest(1), Image(9));
  store.Put("a", Digest(5), Image(5));
  EXPECT_FALSE(store.Touch("a", Digest(2)));
  EXPECT_EQ(store.Find("a", Digest(1))->info.width, 1);
  EXPECT_EQ(store.stats().num_evictions, 2);
  EXPECT_EQ(store.stats().num_bytes, RoomFor(3));
}

TEST(ImageStoreTest, AnImageInUseOutlivesItsEviction) {
  ImageStore store(RoomFor(1));
  store.Put("a", Digest(1), Image(1));
  const std::optional<StoredImage> in_use = store.Find("a", Digest(1));
  store.Put("a", Digest(2), Image(2));
  ASSERT_FALSE(store.Touch("a", Digest(1)));
  EXPECT_EQ(*in_use->input.pixels, ImagePixels(kPixels, 1));
  EXPECT_EQ(in_use->input.pixels.use_count(), 1);  // the store holds nothing of it
  store.Clear();
  EXPECT_EQ(*in_use->input.pixels, ImagePixels(kPixels, 1));
}

TEST(ImageStoreTest, KeepsNothingBeyondItsBudget) {
  ImageStore off(0);
  EXPECT_FALSE(off.enabled());
  off.Put("a", Digest(1), Image(1, 0));
  EXPECT_FALSE(off.Touch("a", Digest(1)));

  ImageStore small(RoomFor(2));
  small.Put("a", Digest(1), Image(1));
  small.Put("a", Digest(2), Image(2, 3 * kPixels));  // larger than everything: evicts nobody
  EXPECT_TRUE(small.Touch("a", Digest(1)));
  EXPECT_FALSE(small.Touch("a", Digest(2)));
  EXPECT_EQ(small.stats().num_evictions, 0);
}

TEST(ImageStoreTest, ClearForgetsAllAndCountsNoEviction) {
  ImageStore store(RoomFor(2));
  store.Put("a", Digest(1), Image(1));
  store.Clear();
  EXPECT_FALSE(store.Touch("a", Digest(1)));
  EXPECT_EQ(store.stats().num_bytes, 0);
  EXPECT_EQ(store.stats().num_images, 0);
  EXPECT_EQ(store.stats().num_evictions, 0);
  store.Put("a", Digest(1), Image(1));
  EXPECT_TRUE(store.Touch("a", Digest(1)));
}

// The plainest possible store: a list, used longest ago first.
class TwinStores {
 public:
  explicit TwinStores(uint32_t seed)
      : random_(seed), budget_(RoomFor(static_cast<int>(random_() % 6))), store_(budget_) {
    for (int id = 0; id < kNumImages; ++id) {
      digests_.push_back(Digest(id % 8));
      const int64_t num_pixels = kPixels / 2 * (1 + id % 4);
      images_.push_back(Image(id, num_pixels));
    }
  }

  void OneOperation() {
    const int id = static_cast<int>(random_() % kNumImages);
    const std::string tenant = id < 8 ? "a" : "b";
    const uint32_t choice = random_() % 100;
    const auto twin = std::find(twins_.begin(), twins_.end(), id);
    const bool is_there = twin != twins_.end();
    if (choice == 0) {
      store_.Clear();
      twins_.clear();
    } else if (choice < 40) {
      store_.Put(tenant, digests_[id], images_[id]);
      Put(id);
    } else if (choice < 55) {
      ASSERT_EQ(store_.Touch(tenant, digests_[id]), is_there);
      if (is_there) Use(id);
    } else {
      const std::optional<StoredImage> found = store_.Find(tenant, digests_[id]);
      ++expected_.num_queries;
      ASSERT_EQ(found.has_value(), is_there);
      if (is_there) {
        ++expected_.num_hits;
        Use(id);
        ASSERT_EQ(found->input.pixels, images_[id].input.pixels);
        ASSERT_EQ(found->info.width, id);
      }
    }
    Compare();
  }

 private:
  static constexpr int kNumImages = 16;  // 8 files of two tenants

  int64_t CostOf(int id) const {
    return ImageStore::CostOf(static_cast<int64_t>(images_[id].input.pixels->size()));
  }
  int64_t num_bytes() const {
    int64_t sum = 0;
    for (const int id : twins_) sum += CostOf(id);
    return sum;
  }
  void Use(int id) {
    std::erase(twins_, id);
    twins_.push_back(id);
  }
  void Put(int id) {
    if (CostOf(id) > budget_) return;
    const bool is_new = std::find(twins_.begin(), twins_.end(), id) == twins_.end();
    while (is_new && num_bytes() + CostOf(id) > budget_) {
      twins_.erase(twins_.begin());
      ++expected_.num_evictions;
    }
    Use(id);
  }

  void Compare() {
    const ImageStore::Stats stats = store_.stats();
    ASSERT_EQ(stats.num_images, static_cast<int64_t>(twins_.size()));
    ASSERT_EQ(stats.num_bytes, num_bytes());
    ASSERT_LE(stats.num_bytes, budget_);
    ASSERT_EQ(stats.num_queries, expected_.num_queries);
    ASSERT_EQ(stats.num_hits, expected_.num_hits);
    ASSERT_EQ(stats.num_evictions, expected_.num_evictions);
    // The store and the test hold an image that is kept, the test alone one that is not.
    for (int id = 0; id < kNumImages; ++id) {
      const bool is_there = std::find(twins_.begin(), twins_.end(), id) != twins_.end();
      ASSERT_EQ(images_[id].input.pixels.use_count(), is_there ? 2 : 1) << id;
    }
  }

  std::mt19937 random_;
  const int64_t budget_;
  ImageStore store_;
  std::vector<Sha256Digest> digests_;
  std::vector<StoredImage> images_;
  std::vector<int> twins_;  // used longest ago first
  ImageStore::Stats expected_;
};

TEST(ImageStoreTest, AgreesWithANaiveTwin) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    TwinStores stores(seed);
    for (int i = 0; i < 2'000; ++i) {
      ASSERT_NO_FATAL_FAILURE(stores.OneOperation()) << "operation " << i;
    }
  }
}

TEST(ImageStoreTest, ManyThreadsShareIt) {
  ImageStore store(RoomFor(4));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&store, t] {
      for (int i = 0; i < 2'000; ++i) {
        const int id = (i * 7 + t) % 8;
        const std::optional<StoredImage> found = store.Find("a", Digest(id));
        if (found.has_value()) {
          ASSERT_EQ(found->input.pixels->front(), id);
        } else {
          store.Put("a", Digest(id), Image(id));
        }
        if (i % 500 == 0) store.Clear();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const ImageStore::Stats stats = store.stats();
  EXPECT_EQ(stats.num_queries, 8'000);
  EXPECT_LE(stats.num_bytes, RoomFor(4));
}

}  // namespace
}  // namespace parrot
