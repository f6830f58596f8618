#include "model/text/tokenizer.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error_status.h"
#include "model/text/nfc_normalizer.h"
#include "model/text/utf8.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/model/text/test_tokenizers.h"

namespace parrot {
namespace {

using namespace std::string_view_literals;

const Tokenizer& Qwen() { return TestTokenizer("qwen"); }
const Tokenizer& Nano() { return TestTokenizer("nano-gqa"); }

std::string Nfc(std::string_view text) {
  std::string storage;
  return std::string(NormalizeNfc(text, &storage));
}

TEST(TokenizerTest, LoadsACheckpointFolder) {
  const auto tokenizer = Tokenizer::Load(GoldenPath("checkpoints/nano-gqa"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  EXPECT_EQ((*tokenizer)->num_tokens(), 2503);
}

TEST(TokenizerTest, NamesTheFileAndNotItsFolderWhenItIsMissing) {
  const absl::Status status = Tokenizer::Load(GoldenPath("checkpoints/none")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(std::string(status.message()), "tokenizer.json: cannot be read");
  EXPECT_EQ(GetErrorFacts(status).field, "tokenizer.json");
}

TEST(TokenizerTest, NamesTheFileAndTheKeyWhenItIsWrong) {
  const std::string dir = testing::TempDir();
  std::ofstream(dir + "/tokenizer.json") << R"({"normalizer": {"type": "NFKC"}})";
  const absl::Status status = Tokenizer::Load(dir).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()), "tokenizer.json: normalizer.type: unsupported value");
}

// Row of the control characters, marks and scripts that a server meets.
TEST(TokenizerTest, AnyValidTextComesBackAsItsNfc) {
  const std::vector<std::string_view> texts = {
      "",
      "\0"sv,
      "a\0b\0\0"sv,
      "\xCC\x81",
      "\xCC\x81\xCC\xA3",
      "e\xCC\x81",
      "\xD9\x85\xD8\xB1\xD8\xAD\xD8\xA8\xD8\xA7\xD9\x8B",
      "\xE2\x80\xAE"
      "abc\xE2\x80\xAC",
      "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7",
      "\x7F\x01\x1B[0m",
      "\xEF\xBB\xBF"
      "bom",
      "\xEF\xBF\xBF",
      "\xF4\x8F\xBF\xBF",
      "-200",
      "<image>",
      "<|im_start|>system\nx<|im_end|>",
      "<|endoftext|>",
  };
  for (const std::string_view text : texts) {
    const auto ids = Qwen().Encode(text);
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(Qwen().Decode(*ids), Nfc(text));
    for (const TokenId id : *ids) EXPECT_FALSE(Qwen().IsSpecial(id));
  }
}

std::string RandomText(std::mt19937* random) {
  static constexpr std::string_view kPieces[] = {"<|im_start|>",
                                                 "<|im_end|>",
                                                 "<|endoftext|>",
                                                 "<image>",
                                                 "<|im_",
                                                 "'s",
                                                 "'LL",
                                                 " ",
                                                 "  ",
                                                 "\n",
                                                 "\r\n",
                                                 "\t",
                                                 "e\xCC\x81",
                                                 "\xCC\xA3",
                                                 "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB",
                                                 "parrot",
                                                 "12"};
  std::string text;
  for (auto length = (*random)() % 30; length > 0; --length) {
    if ((*random)() % 3 == 0) {
      text += kPieces[(*random)() % std::size(kPieces)];
      continue;
    }
    const char32_t limit = (*random)() % 2 == 0 ? 0x3000 : 0x110000;
    const auto code_point = static_cast<char32_t>((*random)() % limit);
    if (code_point < 0xD800 || code_point >= 0xE000) AppendUtf8(code_point, &text);
  }
  return text;
}

TEST(TokenizerTest, RandomTextsComeBackWithoutSpecialTokens) {
  for (const uint32_t seed : {11u, 12u, 13u}) {
    std::mt19937 random(seed);
    for (int i = 0; i < 2000; ++i) {
      const std::string text = RandomText(&random);
      for (const Tokenizer* tokenizer : {&Qwen(), &Nano()}) {
        const auto ids = tokenizer->Encode(text);
        ASSERT_TRUE(ids.ok()) << "seed " << seed << " case " << i;
        ASSERT_EQ(tokenizer->Decode(*ids), Nfc(text)) << "seed " << seed << " case " << i;
        ASSERT_TRUE(std::none_of(
            ids->begin(), ids->end(), [&](TokenId id) { return tokenizer->IsSpecial(id); }))
            << "seed " << seed << " case " << i;
      }
    }
  }
}

TEST(TokenizerTest, ParsesSpecialStringsOnlyWhenAsked) {
  const std::string_view text = "a<|im_end|><|im_end|>b<|im_start|>";
  const auto ids = Nano().Encode(text, {.parse_special = true});
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*ids,
            (std::vector<TokenId>{Nano().Encode("a")->at(0),
                                  Nano().im_end_id(),
                                  Nano().im_end_id(),
                                  Nano().Encode("b")->at(0),
                                  Nano().im_start_id()}));
  EXPECT_EQ(Nano().Decode(*ids), "ab");
  EXPECT_EQ(Nano().Decode(*ids, /*skip_special=*/false), text);
  EXPECT_GT(Nano().Encode(text)->size(), ids->size());
}

TEST(TokenizerTest, NamesTheByteOfInvalidUtf8) {
  for (const bool parse_special : {false, true}) {
    const absl::Status status =
        Qwen().Encode("12345678901234567\xFF", {.parse_special = parse_special}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(status.message()), "invalid UTF-8 at byte 17");
  }
}

TEST(TokenizerTest, HoldsTheTokenLimitExactly) {
  const std::string text = "one two three four";
  const auto size = static_cast<int64_t>(Qwen().Encode(text)->size());
  EXPECT_TRUE(Qwen().Encode(text, {.max_tokens = size}).ok());
  const absl::Status status = Qwen().Encode(text, {.max_tokens = size - 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()), "at least 4 tokens, limit 3");
  const ErrorFacts facts = GetErrorFacts(status);
  EXPECT_EQ(facts.reason, "CONTEXT_LENGTH_EXCEEDED");
  EXPECT_EQ(facts.value, "4");
  EXPECT_EQ(facts.limit, "3");
  EXPECT_TRUE(Qwen().Encode("", {.max_tokens = 0}).ok());
  EXPECT_FALSE(Qwen().Encode("<|im_end|>", {.parse_special = true, .max_tokens = 0}).ok());
}

TEST(TokenizerTest, StopsAtTheTokenLimitLongBeforeTheEnd) {
  std::string words;
  for (int i = 0; i < 10000; ++i) words += "word ";
  for (const std::string& text : {words, std::string(50000, 'x'), std::string(5000000, 'x')}) {
    const absl::Status status = Qwen().Encode(text, {.max_tokens = 2048}).status();
    const int64_t known = std::stoll(GetErrorFacts(status).value);
    EXPECT_GT(known, 2048);
    // Less than all: what a whole encoding would have counted.
    EXPECT_LT(known, static_cast<int64_t>(text.size()) / 8 + 2048);
  }
}

// A quadratic step anywhere would take minutes here.
TEST(TokenizerTest, EncodesAMegabyteOfOneCharacter) {
  for (const std::string_view unit : {"a",
                                      " ",
                                      "\n ",
                                      "\xCC\x81",                                 // acute accent
                                      "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB"}) {  // jamo
    std::string text;
    while (text.size() < 1000000) text += unit;
    const auto ids = Qwen().Encode(text);
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(Qwen().Decode(*ids), Nfc(text));
  }
}

TEST(TokenizerTest, ParsesAMegabyteOfSpecialStrings) {
  std::string text;
  while (text.size() < 1000000) text += kImStartText;
  const auto ids = Qwen().Encode(text, {.parse_special = true});
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*ids, std::vector<TokenId>(text.size() / kImStartText.size(), Qwen().im_start_id()));
}

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kSmallStackBytes = size_t{256} << 10;  // instrumented frames are larger
#else
constexpr size_t kSmallStackBytes = size_t{64} << 10;
#endif

TEST(TokenizerTest, EncodesHostileTextOnASmallStack) {
  const Tokenizer& tokenizer = Qwen();  // loaded on this thread
  const auto encode = [](void* argument) -> void* {
    for (const std::string_view unit : {"x", "\xCC\x81\xCC\xA3", " \n"}) {
      std::string text;
      while (text.size() < 100000) text += unit;
      EXPECT_TRUE(static_cast<const Tokenizer*>(argument)->Encode(text).ok());
    }
    return nullptr;
  };
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, kSmallStackBytes), 0);
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &attributes, encode, const_cast<Tokenizer*>(&tokenizer)), 0);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
}

TEST(TokenizerTest, EncodesOnManyThreadsAtOnce) {
  const std::string text = "The parrot's 12 caf\x65\xCC\x81s, \xE4\xBD\xA0\xE5\xA5\xBD!\n";
  const std::vector<TokenId> expected = *Nano().Encode(text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 200; ++j) {
        const auto ids = Nano().Encode(text);
        ASSERT_TRUE(ids.ok());
        ASSERT_EQ(*ids, expected);
        ASSERT_EQ(Nano().Decode(*ids), Nfc(text));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(TokenizerTest, GivesNoBytesForIdsOutsideTheVocabulary) {
  for (const TokenId id : {-1, -200, Qwen().num_tokens(), 1 << 30}) {
    EXPECT_TRUE(Qwen().TokenBytes(id).empty());
    EXPECT_FALSE(Qwen().IsSpecial(id));
  }
  const std::vector<TokenId> ids = {-200, 151645, 151999};
  EXPECT_EQ(Qwen().Decode(ids), "");
}

}  // namespace
}  // namespace parrot
