#include "scheduler/prefix_cache.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/scheduler/test_requests.h"

namespace parrot {
namespace {

constexpr int32_t kBlockSize = 4;

std::vector<Sha256Digest> Keys(const Request& request,
                               const std::string& revision = "r1",
                               bool has_experts = true) {
  PrefixKeyMaker maker(revision, kBlockSize, has_experts);
  const Sequence sequence(std::make_shared<const Request>(request), 0, absl::UnixEpoch());
  std::vector<Sha256Digest> keys;
  maker.Extend(sequence, sequence.num_tokens(), &keys);
  return keys;
}

// Positions 0..5 text, 6..10 the image, 11..13 text: block 0 is text alone, the image's first row
// lies in block 1, its last in block 2; block 3 is not full.
Request Base(RoutingSource routing = RoutingSource::kText) {
  return *RequestBuilder(1).Tenant("a").Text(6).Image(1, routing).Text(3).Build();
}

// The first block whose key differs; 3 when none does. From there on all must.
int32_t FirstDifference(const std::vector<Sha256Digest>& a, const std::vector<Sha256Digest>& b) {
  EXPECT_EQ(a.size(), 3u);
  EXPECT_EQ(b.size(), 3u);
  const auto first =
      static_cast<int32_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
  for (size_t i = first; i < a.size(); ++i) EXPECT_NE(a[i], b[i]) << "block " << i;
  return first;
}

void SetText(Request* request, int32_t position, TokenId id) {
  request->token_ids[position] = id;
  request->text_ids.clear();
  for (const TokenId token : request->token_ids) {
    if (token != kVisualToken) request->text_ids.push_back(token);
  }
}

struct Change {
  std::string name;
  std::function<void(Request&)> apply;
  int32_t first_changed_block = 3;
};

void CheckChanges(const Request& base, bool has_experts, const std::vector<Change>& changes) {
  const std::vector<Sha256Digest> keys = Keys(base, "r1", has_experts);
  for (const Change& change : changes) {
    SCOPED_TRACE(change.name);
    Request request = base;
    change.apply(request);
    EXPECT_EQ(FirstDifference(keys, Keys(request, "r1", has_experts)), change.first_changed_block);
  }
}

const Change kOtherTenant = {"tenant", [](Request& r) { r.tenant = std::string("b"); }, 0};
const Change kFirstToken = {"first token", [](Request& r) { SetText(&r, 0, 999); }, 0};
const Change kLastTokenBefore = {"last token before", [](Request& r) { SetText(&r, 5, 999); }, 1};
const Change kOtherImage = {"image", [](Request& r) { r.images[0].image = TestImage(2); }, 1};

TEST(PrefixKeyTest, DependsOnAllThatTheKeysAndValuesDependOn) {
  CheckChanges(Base(),
               /*has_experts=*/true,
               {kOtherTenant,
                kFirstToken,
                kLastTokenBefore,
                kOtherImage,
                {"text after", [](Request& r) { SetText(&r, 13, 999); }, 1},
                {"longer text after",
                 [](Request& r) {
                   r.token_ids.push_back(7);
                   r.text_ids.push_back(7);
                 },
                 1},
                {"zeros", [](Request& r) { r.images[0].routing = RoutingSource::kZeros; }, 1},
                {"weights",
                 [](Request& r) {
                   r.images[0].routing = RoutingSource::kWeights;
                   r.images[0].weights = {0.5f, 0.25f, 0.25f};
                 },
                 1}});
}

TEST(PrefixKeyTest, DependsOnNothingElse) {
  CheckChanges(Base(),
               /*has_experts=*/true,
               {{"key", [](Request& r) { r.key = 2; }},
                {"id", [](Request& r) { r.request_id = std::string("x"); }},
                {"seed", [](Request& r) { r.sampling.seed = 77; }},
                {"temperature", [](Request& r) { r.sampling.temperature = 1.5f; }},
                {"length", [](Request& r) { r.max_tokens = 9; }},
                {"answers", [](Request& r) { r.num_sequences = 4; }},
                {"stop", [](Request& r) { r.stop_token_ids = {1}; }},
                {"deadline", [](Request& r) { r.deadline = absl::UnixEpoch(); }},
                {"priority", [](Request& r) { r.priority = 9; }}});
}

TEST(PrefixKeyTest, DependsOnTheModelsRevision) {
  EXPECT_EQ(FirstDifference(Keys(Base(), "r1"), Keys(Base(), "r2")), 0);
}

TEST(PrefixKeyTest, TheCallersWeightsStandInForTheText) {
  CheckChanges(Base(RoutingSource::kWeights),
               /*has_experts=*/true,
               {kOtherTenant,
                kFirstToken,
                kLastTokenBefore,
                kOtherImage,
                {"text after", [](Request& r) { SetText(&r, 13, 999); }, 3},
                {"text after in the block", [](Request& r) { SetText(&r, 11, 999); }, 2},
                {"one weight", [](Request& r) { r.images[0].weights[2] += 1e-7f; }, 1}});
}

TEST(PrefixKeyTest, ZeroVisualTokensDependOnNoText) {
  CheckChanges(Base(RoutingSource::kZeros),
               /*has_experts=*/true,
               {kLastTokenBefore, {"text after", [](Request& r) { SetText(&r, 13, 999); }, 3}});
}

TEST(PrefixKeyTest, WithoutExpertsTheTextDoesNotMatter) {
  CheckChanges(Base(),
               /*has_experts=*/false,
               {kOtherTenant,
                kFirstToken,
                kLastTokenBefore,
                kOtherImage,
                {"text after", [](Request& r) { SetText(&r, 13, 999); }, 3},
                {"weights", [](Request& r) { r.images[0].routing = RoutingSource::kWeights; }, 3},
                {"zeros", [](Request& r) { r.images[0].routing = RoutingSource::kZeros; }, 1}});
}

TEST(PrefixKeyTest, DependsOnWhichRowsOfAnImageABlockHolds) {
  // Twelve visual tokens of one image: all of one place, or the ends and beginnings of several.
  Request one = *RequestBuilder(1).Build();
  one.token_ids.assign(12, kVisualToken);
  one.images.push_back({.image = TestImage(1), .position = 0, .num_tokens = 12});
  for (const int32_t cut : {4, 5, 6, 8, 9, 11}) {
    Request two = one;
    two.images[0].num_tokens = cut;
    two.images.push_back({.image = TestImage(1), .position = cut, .num_tokens = 12 - cut});
    EXPECT_EQ(FirstDifference(Keys(one), Keys(two)), cut / kBlockSize) << "cut at " << cut;
    for (const int32_t other_cut : {4, 5, 6, 8, 9, 11}) {
      if (other_cut <= cut) continue;
      Request other = one;
      other.images[0].num_tokens = other_cut;
      other.images.push_back(
          {.image = TestImage(1), .position = other_cut, .num_tokens = 12 - other_cut});
      EXPECT_EQ(FirstDifference(Keys(two), Keys(other)), cut / kBlockSize) << cut << other_cut;
    }
  }
}

TEST(PrefixKeyTest, GeneratedTokensCountLikeThoseOfAPrompt) {
  const auto whole = RequestBuilder(1).Text(10).Build();
  auto half = std::make_shared<Request>(*whole);
  half->token_ids.resize(3);
  half->text_ids.resize(3);
  half->max_tokens = 8;
  Sequence sequence(half, 0, absl::UnixEpoch());
  sequence.SubmitTokens(3, /*samples=*/true);
  for (int32_t i = 3; i < 10; ++i) {
    sequence.AppendSample(whole->token_ids[i]);
    sequence.SubmitTokens(1, /*samples=*/true);
  }
  PrefixKeyMaker maker("r1", kBlockSize, true);
  std::vector<Sha256Digest> keys;
  maker.Extend(sequence, 10, &keys);
  EXPECT_EQ(keys, Keys(*whole));
}

// The plainest possible twin: a key stands for a text that spells out all that the contents of the
// block and those before it depend on. Equal texts must have equal keys, and the other way round.
class TwinKeys {
 public:
  // Keys of one random prompt; returns how many.
  int64_t OneRequest() {
    const bool has_experts = Pick(0, 3) > 0;
    const std::string revision = absl::StrCat("r", Pick(0, 1), has_experts ? " moe" : "");
    const int32_t block_size = Pick(1, 5);
    const auto request = MakeRequest();
    const Sequence sequence(request, 0, absl::UnixEpoch());
    PrefixKeyMaker maker(revision, block_size, has_experts);
    std::vector<Sha256Digest> keys;
    maker.Extend(sequence, Pick(0, sequence.num_tokens()), &keys);
    maker.Extend(sequence, sequence.num_tokens(), &keys);
    EXPECT_EQ(static_cast<int32_t>(keys.size()), sequence.num_tokens() / block_size);
    std::string text = absl::StrCat(revision, " ", request->tenant, " ", block_size);
    int32_t position = 0;
    for (const Sha256Digest& key : keys) {
      for (int32_t i = 0; i < block_size; ++i) Describe(*request, has_experts, position++, &text);
      const auto [by_text, new_text] = key_of_.emplace(text, key);
      EXPECT_EQ(by_text->second, key) << text;
      const auto [by_key, new_key] = text_of_.emplace(key, &by_text->first);
      EXPECT_EQ(*by_key->second, text);
      num_repeated_ += new_text ? 0 : 1;
    }
    return static_cast<int64_t>(keys.size());
  }

  int64_t num_repeated() const { return num_repeated_; }

 private:
  int32_t Pick(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random_() % static_cast<uint32_t>(high - low + 1));
  }

  std::shared_ptr<const Request> MakeRequest() {
    auto request = std::make_shared<Request>();
    request->key = ++next_key_;
    request->tenant = std::string(1, Pick(0, 1) == 0 ? 'a' : 'b');
    for (int32_t num_parts = Pick(1, 4); num_parts > 0; --num_parts) {
      if (Pick(0, 2) > 0) {
        for (int32_t i = Pick(1, 5); i > 0; --i) {
          request->token_ids.push_back(Pick(0, 5) == 0 ? 2 : 1);
          request->text_ids.push_back(request->token_ids.back());
        }
        continue;
      }
      PlacedImage placed;
      placed.image.hash = images_[Pick(0, 1)];
      placed.position = request->num_prompt_tokens();
      placed.num_tokens = 3;
      const int32_t routing = Pick(0, 4);
      if (routing == 0) placed.routing = RoutingSource::kZeros;
      if (routing == 1) {
        placed.routing = RoutingSource::kWeights;
        placed.weights = {static_cast<float>(Pick(0, 1)), 0.5f};
      }
      request->token_ids.insert(request->token_ids.end(), 3, kVisualToken);
      request->images.push_back(std::move(placed));
    }
    return request;
  }

  static void Describe(const Request& request,
                       bool has_experts,
                       int32_t position,
                       std::string* text) {
    if (request.token_ids[position] != kVisualToken) {
      absl::StrAppend(text, " t", request.token_ids[position]);
      return;
    }
    for (const PlacedImage& image : request.images) {
      const int32_t row = position - image.position;
      if (row < 0 || row >= image.num_tokens) continue;
      absl::StrAppend(text, " i", image.image.hash.bytes[0], ".", row);
      if (image.routing == RoutingSource::kZeros) {
        absl::StrAppend(text, "z");
      } else if (has_experts && image.routing == RoutingSource::kWeights) {
        absl::StrAppend(text, "w", image.weights[0]);
      } else if (has_experts) {
        absl::StrAppend(text, "(");
        for (const TokenId id : request.text_ids) absl::StrAppend(text, id);
        absl::StrAppend(text, ")");
      }
    }
  }

  std::mt19937 random_{1};
  RequestKey next_key_ = 0;
  const std::vector<Sha256Digest> images_ = {TestImage(1).hash, TestImage(2).hash};
  std::unordered_map<std::string, Sha256Digest> key_of_;
  absl::flat_hash_map<Sha256Digest, const std::string*> text_of_;  // keys of key_of_
  int64_t num_repeated_ = 0;
};

TEST(PrefixKeyTest, AMillionKeysAreEqualExactlyWhenTheContentsAre) {
  TwinKeys twins;
  int64_t num_keys = 0;
  while (num_keys < 1'000'000 && !testing::Test::HasFailure()) num_keys += twins.OneRequest();
  EXPECT_GE(twins.num_repeated(), 100'000) << "equal contents must occur";
  EXPECT_LE(twins.num_repeated(), num_keys - 100'000) << "and so must different ones";
}

// ---- The cache ----

TEST(PrefixCacheTest, FindsWhatWasInsertedUntilItIsErased) {
  PrefixCache cache(4);
  const Sha256Digest key = Sha256Of("a");
  EXPECT_EQ(cache.Find(key), -1);
  EXPECT_TRUE(cache.Insert(key, 2, {{0.5f, 0.5f}, {}}));
  EXPECT_EQ(cache.Find(key), 2);
  EXPECT_EQ(cache.routing(2), (std::vector<std::vector<float>>{{0.5f, 0.5f}, {}}));
  EXPECT_EQ(cache.size(), 1);
  cache.Erase(2);
  EXPECT_EQ(cache.Find(key), -1);
  EXPECT_FALSE(cache.Contains(2));
  cache.Erase(2);
  EXPECT_EQ(cache.size(), 0);
}

TEST(PrefixCacheTest, TheFirstBlockOfAKeyStays) {
  PrefixCache cache(4);
  EXPECT_TRUE(cache.Insert(Sha256Of("a"), 2, {}));
  EXPECT_FALSE(cache.Insert(Sha256Of("a"), 3, {}));
  EXPECT_EQ(cache.Find(Sha256Of("a")), 2);
  EXPECT_FALSE(cache.Contains(3));
}

TEST(PrefixCacheTest, KeysThatShareSomeOfTheirBytesAreDifferent) {
  // The hash table looks at the first bytes alone; the lookup compares all of them.
  PrefixCache cache(33);
  Sha256Digest key = Sha256Of("a");
  EXPECT_TRUE(cache.Insert(key, 32, {}));
  for (int32_t i = 0; i < 32; ++i) {
    Sha256Digest other = key;
    other.bytes[i] ^= 1;
    EXPECT_EQ(cache.Find(other), -1);
    EXPECT_TRUE(cache.Insert(other, i, {}));
  }
  EXPECT_EQ(cache.Find(key), 32);
  EXPECT_EQ(cache.size(), 33);
}

TEST(PrefixCacheDeathTest, ABlockHoldsOnePrefix) {
  PrefixCache cache(4);
  EXPECT_TRUE(cache.Insert(Sha256Of("a"), 2, {}));
  EXPECT_DEATH(cache.Insert(Sha256Of("b"), 2, {}), "another prefix");
  EXPECT_DEATH(cache.routing(1), "");
}

TEST(PrefixCacheTest, AgreesWithANaiveTwinForAMillionOperations) {
  std::vector<Sha256Digest> keys;
  for (int i = 0; i < 40; ++i) keys.push_back(Sha256Of(std::to_string(i)));
  for (uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto num_blocks = static_cast<int32_t>(1 + random() % 30);
    PrefixCache cache(num_blocks);
    std::map<int, BlockId> twin;       // by key
    std::map<BlockId, float> routing;  // what was inserted with the block
    for (int i = 0; i < 10'000; ++i) {
      const int key = static_cast<int>(random() % keys.size());
      const auto block = static_cast<BlockId>(random() % static_cast<uint32_t>(num_blocks));
      const uint32_t choice = random() % 8;
      if (choice < 4) {
        if (!routing.contains(block)) {
          const bool is_new = !twin.contains(key);
          ASSERT_EQ(cache.Insert(keys[key], block, {{static_cast<float>(i)}}), is_new);
          if (is_new) {
            twin[key] = block;
            routing[block] = static_cast<float>(i);
          }
        }
      } else if (choice < 6) {
        cache.Erase(block);
        routing.erase(block);
        std::erase_if(twin, [block](const auto& entry) { return entry.second == block; });
      }
      ASSERT_EQ(cache.Find(keys[key]), twin.contains(key) ? twin[key] : -1);
      ASSERT_EQ(cache.Contains(block), routing.contains(block));
      if (routing.contains(block)) {
        ASSERT_EQ(cache.routing(block)[0][0], routing[block]);
      }
      ASSERT_EQ(cache.size(), static_cast<int32_t>(twin.size()));
    }
  }
}

}  // namespace
}  // namespace parrot
