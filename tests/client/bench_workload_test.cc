// What a benchmark sends.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error_status.h"
#include "client/bench/dataset_workload.h"
#include "client/bench/synthetic_picture.h"
#include "client/bench/synthetic_text.h"
#include "client/bench/workload.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Le;
using ::testing::SizeIs;
using ::testing::StartsWith;

std::unique_ptr<SyntheticWorkload> Synthetic(const SyntheticOptions& options) {
  auto workload = SyntheticWorkload::Create(options);
  EXPECT_TRUE(workload.ok()) << workload.status();
  return *std::move(workload);
}

std::string PictureOf(const BenchRequest& made) {
  for (const v1::Message& message : made.request.messages()) {
    for (const v1::Part& part : message.parts()) {
      if (part.has_image()) return part.image().data();
    }
  }
  return "";
}

std::string QuestionOf(const BenchRequest& made) {
  const v1::Message& user = *made.request.messages().rbegin();
  return user.parts().rbegin()->text();
}

TEST(SyntheticWorkload, TheSeedAndTheOrdinalDecideTheRequest) {
  const SyntheticOptions options = {.seed = 3,
                                    .languages = {{"en"}, {"ru"}},
                                    .image_fraction = 0.5,
                                    .image_sizes = {{8, 8}, {16, 4}},
                                    .num_images = 3};
  const auto a = Synthetic(options);
  const auto b = Synthetic(options);
  SyntheticOptions other_options = options;
  other_options.seed = 4;
  const auto other = Synthetic(other_options);
  int num_same = 0;
  for (int i = 19; i >= 0; --i) {
    const std::string bytes = a->Make(i).request.SerializeAsString();
    EXPECT_EQ(bytes, b->Make(i).request.SerializeAsString());
    num_same += bytes == other->Make(i).request.SerializeAsString() ? 1 : 0;
  }
  EXPECT_EQ(num_same, 0);
}

TEST(SyntheticWorkload, MixesLanguagesPicturesAndLengthsAsAsked) {
  const auto workload = Synthetic({.languages = {{"en", 3}, {"zh", 1}},
                                   .input_tokens = {4, 8},
                                   .output_tokens = {16, 32},
                                   .ignore_eos = true,
                                   .image_fraction = 0.25,
                                   .image_sizes = {{8, 8}},
                                   .num_images = 5,
                                   .tokens_per_word = {{"en", 2.0}}});
  constexpr int kRequests = 2000;
  std::map<std::string, int> languages;
  std::set<std::string> pictures;
  std::set<int> english_words;
  std::set<int> max_tokens;
  int num_images = 0;
  for (int i = 0; i < kRequests; ++i) {
    const BenchRequest made = workload->Make(i);
    ++languages[made.language];
    EXPECT_EQ(made.request.language(), made.language);
    EXPECT_TRUE(made.request.stop().ignore_eos());
    max_tokens.insert(made.request.stop().max_tokens());
    num_images += made.num_images;
    EXPECT_EQ(made.num_images, PictureOf(made).empty() ? 0 : 1);
    if (made.num_images > 0) pictures.insert(PictureOf(made));
    const std::string question = QuestionOf(made);
    if (made.language == "en") {
      english_words.insert(1 + static_cast<int>(std::count(question.begin(), question.end(), ' ')));
    }
  }
  EXPECT_NEAR(languages["en"], kRequests * 0.75, 100);
  EXPECT_NEAR(languages["zh"], kRequests * 0.25, 100);
  EXPECT_NEAR(num_images, kRequests * 0.25, 100);
  EXPECT_EQ(pictures.size(), 5u);
  EXPECT_THAT(max_tokens, AllOf(SizeIs(17), Each(AllOf(Ge(16), Le(32)))));
  EXPECT_THAT(english_words, AllOf(Each(Ge(2)), Each(Le(4))));  // two tokens a word
}

TEST(SyntheticWorkload, EachRequestHasItsOwnPictureUnlessTheirNumberIsGiven) {
  const auto workload =
      Synthetic({.image_fraction = 1, .image_sizes = {{8, 8}}, .num_requests = 50});
  std::set<std::string> pictures;
  for (int i = 0; i < 50; ++i) pictures.insert(PictureOf(workload->Make(i)));
  EXPECT_EQ(pictures.size(), 50u);
}

TEST(SyntheticWorkload, ASharedPrefixIsOneSystemTurnBeforeThePicture) {
  const auto workload = Synthetic(
      {.shared_prefix_tokens = 20, .image_fraction = 1, .image_sizes = {{8, 8}}, .num_images = 1});
  const BenchRequest a = workload->Make(0);
  const BenchRequest b = workload->Make(1);
  ASSERT_EQ(a.request.messages_size(), 2);
  EXPECT_EQ(a.request.messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(a.request.messages(0).parts(0).text(), b.request.messages(0).parts(0).text());
  EXPECT_TRUE(a.request.messages(1).parts(0).has_image());
  EXPECT_NE(QuestionOf(a), QuestionOf(b));
}

TEST(SyntheticWorkload, PicturesAreBoundedAndTheirMakingCanBeCancelled) {
  SyntheticOptions options{.image_fraction = 1, .num_requests = 1000};
  const auto workload = SyntheticWorkload::Create(options, [] { return true; });
  EXPECT_TRUE(absl::IsCancelled(workload.status()));
  options.num_requests = SyntheticWorkload::kMaxPictures + 1;
  const auto too_many = SyntheticWorkload::Create(options);
  EXPECT_EQ(GetErrorFacts(too_many.status()).reason, "TOO_MANY_PICTURES");
}

TEST(SyntheticPicture, IsAPngOfItsSizeThatTheSeedDecides) {
  const std::string png = SyntheticPicture({300, 7}, 1);
  EXPECT_THAT(png, StartsWith("\x89PNG\r\n\x1a\n"));
  EXPECT_EQ(png.substr(16, 8), std::string("\0\0\1\x2c\0\0\0\7", 8));
  EXPECT_EQ(png, SyntheticPicture({300, 7}, 1));
  EXPECT_NE(png, SyntheticPicture({300, 7}, 2));
  EXPECT_THAT(SyntheticPicture({1, 1}, 0), StartsWith("\x89PNG"));
}

TEST(SyntheticText, HasWordsOfTheModelsSixLanguages) {
  for (const char* language : {"en", "zh", "pt", "ar", "tr", "ru"}) {
    ASSERT_TRUE(IsSyntheticLanguage(language));
    std::mt19937_64 random;
    EXPECT_FALSE(SyntheticText(language, 3, random).empty());
  }
  EXPECT_FALSE(IsSyntheticLanguage("de"));
}

std::string DatasetFile(const std::string& contents) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "parrot_bench";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "picture.bin", std::ios::binary) << "PICTURE";
  std::ofstream(folder / "dataset.jsonl", std::ios::binary) << contents;
  return (folder / "dataset.jsonl").string();
}

TEST(DatasetWorkload, ReadsListsAndObjectsAndStartsAgain) {
  const auto read = DatasetWorkload::Read(DatasetFile(R"([{"role": "user", "content": "one"}]

{"messages": [{"role": "user", "content": [{"type": "image", "image": "picture.bin"}, {"type": "text", "text": "two"}]}], "language": "pt", "max_tokens": 5}
)"),
                                          {.model = "nano", .output_tokens = 9});
  ASSERT_TRUE(read.ok()) << read.status();
  const DatasetWorkload& workload = **read;
  EXPECT_EQ(workload.size(), 2);
  const BenchRequest one = workload.Make(0);
  EXPECT_EQ(QuestionOf(one), "one");
  EXPECT_EQ(one.language, "");
  EXPECT_FALSE(one.request.has_language());
  EXPECT_EQ(one.request.stop().max_tokens(), 9);
  EXPECT_EQ(one.request.model(), "nano");
  const BenchRequest two = workload.Make(3);
  EXPECT_EQ(QuestionOf(two), "two");
  EXPECT_EQ(PictureOf(two), "PICTURE");
  EXPECT_EQ(two.num_images, 1);
  EXPECT_EQ(two.language, "pt");
  EXPECT_EQ(two.request.language(), "pt");
  EXPECT_EQ(two.request.stop().max_tokens(), 5);
}

TEST(DatasetWorkload, MistakesNameTheirLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[{\"role\": \"user\", \"content\": \"a\"}]\nnot json\n", "line 2"},
      {"[{\"role\": \"bird\", \"content\": \"a\"}]", "line 1.messages[0].role"},
      {"{\"messages\": [], \"lang\": \"en\"}", "line 1"},
      {"{\"language\": \"en\"}", "line 1.messages"},
      {"{\"messages\": [], \"max_tokens\": -1}", "line 1"},
      {"\n \n", ""}};
  for (const auto& [contents, field] : cases) {
    const auto read = DatasetWorkload::Read(DatasetFile(contents), {});
    EXPECT_TRUE(absl::IsInvalidArgument(read.status())) << contents;
    EXPECT_EQ(GetErrorFacts(read.status()).field, field) << contents;
  }
}

}  // namespace
}  // namespace parrot
