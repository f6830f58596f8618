// Broken and foreign tokenizer.json files: each is refused with the path of the key.
#include "model/text/tokenizer_file.h"

#include <gtest/gtest.h>

#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "model/text/tokenizer.h"
#include "tests/model/text/test_tokenizers.h"

namespace parrot {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kGood[] = "nano-7bshape";  // 1,200 base tokens, 944 merges, 3 special tokens

TEST(TokenizerFileTest, ReadsAGoodFile) {
  const auto file = ParseTokenizerFile(TestTokenizerJson(kGood));
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->tokens.size(), 1203u);
  EXPECT_EQ(file->merges.size(), 944u);
  EXPECT_EQ(file->special_ids, (std::vector<TokenId>{1200, 1201, 1202}));
  EXPECT_EQ(file->tokens[1200], "<|endoftext|>");
  EXPECT_EQ(file->byte_tokens['!'], 0);
  EXPECT_EQ(file->tokens[static_cast<size_t>(file->byte_tokens[0])], std::string(1, '\0'));
}

TEST(TokenizerFileTest, ReadsMergesWrittenAsPairs) {
  Json json = Json::parse(TestTokenizerJson(kGood));
  for (Json& merge : json["model"]["merges"]) {
    const auto text = merge.get<std::string>();
    const size_t space = text.find(' ');
    merge = Json::array({text.substr(0, space), text.substr(space + 1)});
  }
  const auto file = ParseTokenizerFile(json.dump());
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->merges.size(), 944u);
}

struct JsonCase {
  const char* name;
  std::function<void(Json&)> damage;
  const char* field;
  const char* message;  // the part after the field
};

std::vector<JsonCase> VocabularyCases() {
  return {
      {"duplicate id",
       [](Json& j) { j["model"]["vocab"]["\""] = 0; },
       "model.vocab",
       "id 0 is given twice"},
      {"negative id",
       [](Json& j) { j["model"]["vocab"]["!"] = -1; },
       "model.vocab",
       "id -1 is outside 0..1202"},
      {"id far beyond the number of tokens",
       [](Json& j) { j["model"]["vocab"]["!"] = 2147483647; },
       "model.vocab",
       "id 2147483647 is outside 0..1202"},
      {"id above 64 bits",
       [](Json& j) { j["model"]["vocab"]["!"] = 18446744073709551615u; },
       "model.vocab",
       "id 9223372036854775807 is outside 0..1202"},
      {"id is text",
       [](Json& j) { j["model"]["vocab"]["!"] = "0"; },
       "model.vocab",
       "id is not an integer"},
      {"id is a fraction",
       [](Json& j) { j["model"]["vocab"]["!"] = 0.5; },
       "model.vocab",
       "id is not an integer"},
      {"id is an object",
       [](Json& j) { j["model"]["vocab"]["!"] = Json::object(); },
       "model.vocab",
       "id is not an integer"},
      {"hole in the ids",
       [](Json& j) {
         j["model"]["vocab"].erase(std::prev(j["model"]["vocab"].end()));
         j["model"]["merges"].erase(943);
       },
       "added_tokens[2].id",
       "id 1202 is outside 0..1201"},
      {"no token for a byte",
       [](Json& j) {
         j["model"]["vocab"].erase("!");
         j["model"]["vocab"]["!!"] = 0;
       },
       "model.vocab",
       "no token for byte 33"},
      {"token outside the byte alphabet",
       [](Json& j) {
         j["model"]["vocab"].erase("!");
         j["model"]["vocab"]["\xE4\xBD\xA0"] = 0;
       },
       "model.vocab",
       "token 0 is not byte-level text"},
      {"empty token",
       [](Json& j) {
         j["model"]["vocab"].erase("!");
         j["model"]["vocab"][""] = 0;
       },
       "model.vocab",
       "token 0 is not byte-level text"},
      {"vocabulary is a list",
       [](Json& j) { j["model"]["vocab"] = Json::array({1}); },
       "model.vocab",
       "unsupported value"},
      {"vocabulary missing", [](Json& j) { j["model"].erase("vocab"); }, "model.vocab", "missing"},
  };
}

std::vector<JsonCase> MergeCases() {
  return {
      {"merge of unknown token",
       [](Json& j) { j["model"]["merges"][5] = "zzzz q"; },
       "model.merges[5]",
       "part is not in the vocabulary"},
      {"merge gives an unknown token",
       [](Json& j) { j["model"]["merges"][5] = "! !"; },
       "model.merges[5]",
       "result is not in the vocabulary"},
      {"merge that gives its own part",
       [](Json& j) { j["model"]["merges"][5] = "a "; },
       "model.merges[5]",
       "part is not in the vocabulary"},
      {"merge given twice",
       [](Json& j) { j["model"]["merges"][5] = j["model"]["merges"][2]; },
       "model.merges[5]",
       "pair is given twice"},
      {"merge of three",
       [](Json& j) { j["model"]["merges"][5] = "a b c"; },
       "model.merges[5]",
       "merge is not two tokens"},
      {"merge of one",
       [](Json& j) { j["model"]["merges"][5] = "ab"; },
       "model.merges[5]",
       "merge is not two tokens"},
      {"merge is a number",
       [](Json& j) { j["model"]["merges"][5] = 7; },
       "model.merges[5]",
       "merge is not text"},
      {"merge is an object",
       [](Json& j) { j["model"]["merges"][5] = Json::object(); },
       "model.merges[5]",
       "merge is not text"},
      {"merge list of one",
       [](Json& j) { j["model"]["merges"][5] = {"a"}; },
       "model.merges[5]",
       "merge is not two tokens"},
      {"merge list within a list",
       [](Json& j) {
         j["model"]["merges"][5] = Json::array({Json::array({"a"}), "b"});
       },
       "model.merges[5]",
       "merge is not text"},
      {"merges is an object",
       [](Json& j) {
         j["model"]["merges"] = Json::object({{"a", 1}});
       },
       "model.merges",
       "unsupported value"},
      {"merges missing", [](Json& j) { j["model"].erase("merges"); }, "model.merges", "missing"},
  };
}

std::vector<JsonCase> SpecialTokenCases() {
  return {
      {"special token missing",
       [](Json& j) { j["added_tokens"][1]["content"] = "<|other|>"; },
       "added_tokens",
       "<|im_start|> is missing"},
      {"special tokens missing altogether",
       [](Json& j) { j.erase("added_tokens"); },
       "added_tokens",
       "missing or not a list"},
      {"special token's id is taken",
       [](Json& j) { j["added_tokens"][1]["id"] = 5; },
       "added_tokens[1].id",
       "id 5 is given twice"},
      {"special token given twice",
       [](Json& j) { j["added_tokens"][1]["content"] = "<|endoftext|>"; },
       "added_tokens[1].content",
       "is given twice"},
      {"special token without content",
       [](Json& j) { j["added_tokens"][1]["content"] = ""; },
       "added_tokens[1].content",
       "missing or empty"},
      {"special token's id is text",
       [](Json& j) { j["added_tokens"][1]["id"] = "5"; },
       "added_tokens[1].id",
       "missing or not an integer"},
      {"added token is text",
       [](Json& j) { j["added_tokens"][1] = "x"; },
       "added_tokens[1]",
       "not an object"},
      {"added token that is not special",
       [](Json& j) { j["added_tokens"][1]["special"] = false; },
       "added_tokens[1].special",
       "unsupported value"},
      {"special token that eats spaces",
       [](Json& j) { j["added_tokens"][1]["lstrip"] = true; },
       "added_tokens[1].lstrip",
       "unsupported value"},
      {"special token after normalisation",
       [](Json& j) { j["added_tokens"][1]["normalized"] = true; },
       "added_tokens[1].normalized",
       "unsupported value"},
      {"too many special tokens",
       [](Json& j) { j["added_tokens"] = std::vector<Json>(300, j["added_tokens"][0]); },
       "added_tokens",
       "300 entries, limit 256"},
  };
}

std::vector<JsonCase> ForeignCases() {
  const auto set = [](const char* pointer, Json value) {
    return [pointer, value](Json& j) { j[Json::json_pointer(pointer)] = value; };
  };
  const char* kUnsupported = "unsupported value";
  return {
      {"other normaliser", set("/normalizer/type", "NFKC"), "normalizer.type", kUnsupported},
      {"no normaliser", set("/normalizer", nullptr), "normalizer.type", "missing"},
      {"other splitter",
       set("/pre_tokenizer/type", "Whitespace"),
       "pre_tokenizer.type",
       kUnsupported},
      {"other pattern",
       set("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\p{N}{1,3}"),
       "pre_tokenizer.pretokenizers[0].pattern.Regex",
       kUnsupported},
      {"other split behaviour",
       set("/pre_tokenizer/pretokenizers/0/behavior", "Removed"),
       "pre_tokenizer.pretokenizers[0].behavior",
       kUnsupported},
      {"prefix space",
       set("/pre_tokenizer/pretokenizers/1/add_prefix_space", true),
       "pre_tokenizer.pretokenizers[1].add_prefix_space",
       kUnsupported},
      {"third splitter",
       [](Json& j) {
         j["pre_tokenizer"]["pretokenizers"].push_back({{"type", "Digits"}});
       },
       "pre_tokenizer.pretokenizers[2]",
       kUnsupported},
      {"post-processor that adds tokens",
       set("/post_processor/type", "TemplateProcessing"),
       "post_processor.type",
       kUnsupported},
      {"other decoder", set("/decoder/type", "WordPiece"), "decoder.type", kUnsupported},
      {"other model", set("/model/type", "Unigram"), "model.type", kUnsupported},
      {"dropout", set("/model/dropout", 0.1), "model.dropout", kUnsupported},
      {"unknown token", set("/model/unk_token", "<unk>"), "model.unk_token", kUnsupported},
      {"byte fallback", set("/model/byte_fallback", true), "model.byte_fallback", kUnsupported},
      {"ignored merges", set("/model/ignore_merges", true), "model.ignore_merges", kUnsupported},
      {"subword prefix",
       set("/model/continuing_subword_prefix", "##"),
       "model.continuing_subword_prefix",
       kUnsupported},
      {"truncation",
       set("/truncation", Json::object({{"max_length", 8}})),
       "truncation",
       kUnsupported},
      {"padding", set("/padding", Json::object()), "padding", kUnsupported},
      {"model is text", set("/model", "BPE"), "model.type", "missing"},
      {"document is a list", [](Json& j) { j = Json::array(); }, "normalizer.type", "missing"},
      {"document is a number", [](Json& j) { j = 7; }, "normalizer.type", "missing"},
  };
}

TEST(TokenizerFileTest, RefusesDamagedAndForeignFilesByKeyPath) {
  const Json good = Json::parse(TestTokenizerJson(kGood));
  size_t num_cases = 0;
  for (const auto& cases : {VocabularyCases(), MergeCases(), SpecialTokenCases(), ForeignCases()}) {
    for (const JsonCase& c : cases) {
      Json json = good;
      c.damage(json);
      const absl::Status status = Tokenizer::FromJson(json.dump()).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.name;
      EXPECT_EQ(GetErrorFacts(status).field, c.field) << c.name;
      EXPECT_EQ(std::string(status.message()), absl::StrCat(c.field, ": ", c.message)) << c.name;
      ++num_cases;
    }
  }
  EXPECT_EQ(num_cases, 56u);
}

struct TextCase {
  const char* name;
  std::string text;
  std::string message;
};

std::string Replace(std::string text, const std::string& from, const std::string& to) {
  const size_t position = text.find(from);
  EXPECT_NE(position, std::string::npos);
  return text.replace(position, from.size(), to);
}

TEST(TokenizerFileTest, RefusesWhatIsNotCleanJson) {
  const std::string good = TestTokenizerJson(kGood);
  const std::vector<TextCase> cases = {
      {"empty", "", "not valid JSON at byte 1"},
      {"not JSON", "GGUF", "not valid JSON at byte 1"},
      {"cut", good.substr(0, good.size() / 2), ""},
      {"trailing text", good + "x", ""},
      {"raw invalid UTF-8", Replace(good, "\"version\"", "\"vers\xFFion\""), ""},
      {"lone surrogate", Replace(good, "\"version\"", R"("vers\ud800ion")"), ""},
      {"overlong UTF-8 in a token", Replace(good, "\"!\"", "\"\xC0\xAF\""), ""},
      {"key given twice", Replace(good, "{", R"({"version": "2",)"), "version: duplicate key"},
      {"token given twice",
       Replace(good, "\"\\\"\": 1,", "\"!\": 1,"),
       "model.vocab: tokens 0 and 1 have the same text"},
      {"vocabulary given twice",
       Replace(good, R"("vocab": {)", R"("vocab": {}, "vocab": {)"),
       "model.vocab: duplicate key"},
      {"deep",
       Replace(
           good, R"("padding": null)", absl::StrCat(R"("padding": )", std::string(100000, '['))),
       ""},
      {"deep objects",
       [] {
         std::string text;
         for (int i = 0; i < 70; ++i) text += R"({"a":)";
         return text;
       }(),
       ""},
      {"many small values",
       Replace(good,
               R"("padding": null)",
               [] {
                 std::string text = R"("padding": [0)";
                 for (int i = 0; i < 70000; ++i) text += ",0";
                 return text + "]";
               }()),
       "padding[65532]: too many values"},
      {"long key",
       Replace(good, "\"version\"", "\"" + std::string(65, 'v') + "\""),
       "key is longer than 64 bytes"},
      {"larger than 64 MB",
       std::string(kMaxTokenizerFileBytes + 1, ' '),
       "67108865 bytes, limit 67108864"},
  };
  for (const TextCase& c : cases) {
    const absl::Status status = Tokenizer::FromJson(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.name;
    const std::string message(status.message());
    if (!c.message.empty()) {
      EXPECT_EQ(message, c.message) << c.name;
    } else {
      const bool typed = message.starts_with("not valid JSON at byte ") ||
                         message.ends_with("nested deeper than 64");
      EXPECT_TRUE(typed) << c.name << ": " << message;
    }
  }
}

// Whatever bytes the file holds, reading it ends in a tokenizer or a Status.
TEST(TokenizerFileTest, SurvivesRandomDamage) {
  const std::string good = TestTokenizerJson(kGood);
  int num_refused = 0;
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    std::string text = good;
    for (auto changes = 1 + random() % 4; changes > 0; --changes) {
      const size_t position = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[position] = static_cast<char>(random());
          break;
        case 1:
          text.erase(position, random() % 64);
          break;
        case 2:
          text.insert(position, text.substr(random() % text.size(), random() % 64));
          break;
        default:
          text[position] = "[]{},:\"0"[random() % 8];
      }
    }
    const auto tokenizer = Tokenizer::FromJson(text);
    if (!tokenizer.ok()) {
      ++num_refused;
    } else {
      EXPECT_TRUE((*tokenizer)->Encode("Hello, world").ok()) << "seed " << seed;
    }
  }
  EXPECT_GT(num_refused, 200);
}

}  // namespace
}  // namespace parrot
