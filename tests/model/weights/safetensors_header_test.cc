#include "model/weights/safetensors_header.h"

#include <string>
#include <vector>

#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

TEST(SafetensorsHeaderTest, ReadsTensorsInOrderOfOffset) {
  const auto header =
      ParseSafetensorsHeader(R"({"__metadata__":{"format":"pt"},)"
                             R"("b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                             R"("a":{"dtype":"BF16","shape":[5],"data_offsets":[24,34]}}   )",
                             34);
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].name, "b");
  EXPECT_EQ(header->tensors[0].type, SafetensorsType::kF32);
  EXPECT_THAT(header->tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(header->tensors[1].begin, 24u);
  EXPECT_EQ(header->tensors[1].end, 34u);
  EXPECT_EQ(header->metadata.at("format"), "pt");
}

TEST(SafetensorsHeaderTest, AcceptsScalarsAndTensorsWithoutElements) {
  const auto header =
      ParseSafetensorsHeader(R"({"empty":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]},)"
                             R"("scalar":{"dtype":"I32","shape":[],"data_offsets":[0,4]}})",
                             4);
  EXPECT_TRUE(header.ok()) << header.status();
  EXPECT_TRUE(ParseSafetensorsHeader("{}", 0).ok());
}

TEST(SafetensorsHeaderTest, KnowsEveryWholeByteType) {
  for (const auto& [name, bytes] : std::vector<std::pair<std::string, int>>{{"BOOL", 1},
                                                                            {"U8", 1},
                                                                            {"I8", 1},
                                                                            {"F8_E5M2", 1},
                                                                            {"F8_E4M3", 1},
                                                                            {"I16", 2},
                                                                            {"U16", 2},
                                                                            {"F16", 2},
                                                                            {"BF16", 2},
                                                                            {"I32", 4},
                                                                            {"U32", 4},
                                                                            {"F32", 4},
                                                                            {"F64", 8},
                                                                            {"I64", 8},
                                                                            {"U64", 8}}) {
    const std::string size = std::to_string(bytes);
    const auto header = ParseSafetensorsHeader(
        R"({"t":{"dtype":")" + name + R"(","shape":[1],"data_offsets":[0,)" + size + "]}}",
        static_cast<uint64_t>(bytes));
    ASSERT_TRUE(header.ok()) << name << ": " << header.status();
    EXPECT_EQ(SafetensorsTypeName(header->tensors[0].type), name);
  }
}

struct BadHeader {
  std::string rule;  // expected in the message
  std::string json;
  uint64_t data_bytes = 4;
};

// One tensor of four bytes with one thing wrong.
std::string One(const std::string& fields) { return R"({"t":{)" + fields + "}}"; }

std::string Deep() {
  std::string json = R"({"t":)";  // six objects, where a header has two
  for (int i = 0; i < 5; ++i) json += R"({"a":)";
  return json + "1" + std::string(6, '}');
}

TEST(SafetensorsHeaderTest, RefusesWhatTheFormatDoesNotAllow) {
  const std::string ok = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";
  const std::vector<BadHeader> cases = {
      {"does not begin with '{'", One(ok).insert(0, 1, ' ')},
      {"does not begin with '{'", "[]"},
      {"does not begin with '{'", ""},
      {"does not begin with '{'", "\xEF\xBB\xBF{}"},
      {"not valid JSON", "{\"t\xff\":{" + ok + "}}"},
      {"not valid JSON", "{\"t\xed\xa0\x80\":{" + ok + "}}"},
      {"not valid JSON", R"({"t\ud800":{)" + ok + "}}"},
      {"not valid JSON", One(ok) + "x"},
      {"not valid JSON", One(ok) + std::string(1, '\0')},
      {"not valid JSON", One(ok).substr(0, 20)},
      {"not valid JSON", One(ok + ",")},
      {"duplicate key", R"({"t":{)" + ok + R"(},"t":{)" + ok + "}}"},
      {"duplicate key", One(ok + R"(,"shape":[1])")},
      {"duplicate key __metadata__", R"({"__metadata__":{},"__metadata__":{}})", 0},
      {"duplicate key in __metadata__", R"({"__metadata__":{"a":"1","a":"2"}})", 0},
      {"hole", One(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), 8},
      {"hole",
       R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
       R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
       3},
      {"overlap",
       R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
       R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3},
      {"overlap",
       R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
       R"("b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
       2},
      {"bytes that no tensor owns", One(ok), 8},
      {"bytes that no tensor owns", "{}", 1},
      {"after the end of the file", One(ok), 3},
      {"end before they begin", One(R"("dtype":"F32","shape":[0],"data_offsets":[4,0])")},
      {"size differs from shape times dtype",
       One(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])")},
      {"size differs from shape times dtype",
       One(R"("dtype":"F64","shape":[1],"data_offsets":[0,4])")},
      {"shape overflows",
       One(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,4])")},
      {"shape overflows",
       One(R"("dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,4])")},
      {"shape overflows",
       One(R"("dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,4])")},
      {"not an integer", One(R"("dtype":"U8","shape":[1e3],"data_offsets":[0,4])")},
      {"not an integer", One(R"("dtype":"U8","shape":[4],"data_offsets":[0,4.0])")},
      {"not an integer",
       One(R"("dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,4])")},
      {"negative", One(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])")},
      {"negative", One(R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])")},
      {"unknown dtype", One(R"("dtype":"F4","shape":[1],"data_offsets":[0,4])")},
      {"unknown dtype", One(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])")},
      {"too many dimensions",
       One(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])")},
      {"must be two numbers", One(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])")},
      {"must be two numbers", One(R"("dtype":"F32","shape":[1],"data_offsets":[0])")},
      {"needs dtype, shape and data_offsets", One(R"("dtype":"F32","shape":[1])")},
      {"needs dtype, shape and data_offsets", One("")},
      {"unknown field", One(ok + R"(,"strides":[1])")},
      {"unknown field", Deep()},
      {"where the format has none", One(R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])")},
      {"where the format has none", One(R"("dtype":null,"shape":[1],"data_offsets":[0,4])")},
      {"where the format has none", R"({"t":[1]})"},
      {"where the format has none", R"({"t":1})"},
      {"where the format has none", R"({"t":true})"},
      {"where the format has none", R"({"__metadata__":{"a":{}}})"},
      {"where the format has none", R"({"__metadata__":[]})"},
      {"where the format has none", R"({"__metadata__":{"a":1}})"},
  };
  EXPECT_EQ(cases.size(), 50u);
  for (const BadHeader& bad : cases) {
    const auto header = ParseSafetensorsHeader(bad.json, bad.data_bytes);
    ASSERT_FALSE(header.ok()) << bad.json;
    EXPECT_EQ(header.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Text(header.status()), HasSubstr(bad.rule)) << bad.json;
    EXPECT_EQ(GetErrorFacts(header.status()).reason, "MODEL_FILE_INVALID");
  }
}

TEST(SafetensorsHeaderTest, NamesTheTensorWithoutItsControlCharacters) {
  const auto header = ParseSafetensorsHeader(R"({"a\u001f\n\u00e9":{"dtype":"F99"}})", 0);
  EXPECT_THAT(Text(header.status()), HasSubstr(R"(tensor "a????": unknown dtype (F99))"));
}

TEST(SafetensorsHeaderTest, RefusesAMillionTensorsEarly) {
  std::string json = "{";
  for (int i = 0; i < 1'000'000; ++i) {
    if (i > 0) json += ',';
    json += '"' + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  json += '}';
  ASSERT_LT(json.size(), kMaxSafetensorsHeaderBytes);
  const auto header = ParseSafetensorsHeader(json, 0);
  EXPECT_THAT(Text(header.status()), HasSubstr("more than 100000 tensors"));
}

std::string Prefix(uint64_t header_bytes) {
  std::string prefix;
  for (int i = 0; i < 8; ++i) prefix += static_cast<char>(header_bytes >> (8 * i) & 0xff);
  return prefix;
}

TEST(SafetensorsHeaderTest, BoundsTheHeaderBySizeLimitAndFile) {
  EXPECT_EQ(ReadSafetensorsHeaderSize(Prefix(10), 18).value(), 10u);
  EXPECT_EQ(ReadSafetensorsHeaderSize(Prefix(100'000'000), 200'000'000).value(), 100'000'000u);
  for (const auto& [prefix, file_bytes, rule] :
       std::vector<std::tuple<std::string, uint64_t, std::string>>{
           {Prefix(11), 18, "larger than the file"},
           {Prefix(100'000'001), 200'000'000, "larger than 100000000 bytes"},
           {Prefix(UINT64_MAX), 100, "larger than 100000000 bytes"},
           {Prefix(1), 8, "larger than the file"},
           {std::string(7, '\0'), 7, "too short"},
           {"", 0, "too short"}}) {
    const auto size = ReadSafetensorsHeaderSize(prefix, file_bytes);
    EXPECT_THAT(Text(size.status()), HasSubstr(rule));
  }
}

}  // namespace
}  // namespace parrot
