#include "server/grpc/wire_scan.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/error_status.h"
#include "gtest/gtest.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {
namespace {

ErrorFacts Scan(const std::string& bytes, WireLimits limits = {}) {
  const absl::Status status = ScanWire(bytes, *v1::GenerateRequest::descriptor(), limits);
  EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument);
  return GetErrorFacts(status);
}

ErrorFacts ScanHex(const std::string& hex) { return Scan(absl::HexStringToBytes(hex)); }

v1::GenerateRequest FullRequest() {
  v1::GenerateRequest request;
  request.set_model("m");
  request.set_generation_prefix("p");
  request.set_image_placement(v1::IMAGE_PLACEMENT_LITERAL);
  for (int i = 0; i < 3; ++i) {
    v1::Message* message = request.add_messages();
    message->set_role(v1::ROLE_USER);
    message->add_parts()->set_text("text \xff is bytes");
    v1::Image* image = message->add_parts()->mutable_image();
    image->set_data(std::string("\x00\xff\x12", 3));
    image->add_expert_weights(0.5f);
    image->add_expert_weights(0.25f);
  }
  request.mutable_sampling()->set_temperature(0.5f);
  request.mutable_sampling()->set_seed(~uint64_t{0});
  (*request.mutable_sampling()->mutable_logit_bias())[7] = 1.0f;
  request.mutable_stop()->add_stop_token_ids(-1);
  request.mutable_stop()->add_stop_token_ids(300);
  request.mutable_stop()->add_stop("stop");
  request.mutable_output()->set_logprobs(3);
  request.set_timeout_ms(-5);
  request.set_language("zh");
  return request;
}

TEST(WireScanTest, AcceptsEveryFieldOfARequest) {
  EXPECT_EQ(Scan(FullRequest().SerializeAsString()).reason, "");
  EXPECT_EQ(Scan("").reason, "");
}

TEST(WireScanTest, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(ScanHex("9a060178").reason, "UNKNOWN_FIELD");
  EXPECT_EQ(ScanHex("9a060178").field, "");
  EXPECT_EQ(ScanHex("9a060178").value, "99");
  const ErrorFacts nested = ScanHex(
      "1200"
      "1206"
      "12047a020801");
  EXPECT_EQ(nested.reason, "UNKNOWN_FIELD");
  EXPECT_EQ(nested.field, "messages[1].parts[0]");
  const ErrorFacts utf8 = ScanHex("1a0461c328ff");
  EXPECT_EQ(utf8.reason, "INVALID_UTF8");
  EXPECT_EQ(utf8.field, "generation_prefix");
  EXPECT_EQ(utf8.value, "1");
}

TEST(WireScanTest, CountsFieldsOfAllLevelsPackedElementsAndMapEntries) {
  v1::GenerateRequest request;
  for (int i = 0; i < 10; ++i) request.add_messages()->add_parts()->set_text("");
  EXPECT_EQ(Scan(request.SerializeAsString(), {.max_fields = 30}).reason, "");
  EXPECT_EQ(Scan(request.SerializeAsString(), {.max_fields = 29}).reason, "TOO_MANY_FIELDS");
  v1::GenerateRequest packed;
  for (int i = 0; i < 10; ++i) packed.mutable_stop()->add_stop_token_ids(i);
  EXPECT_EQ(Scan(packed.SerializeAsString(), {.max_fields = 12}).reason, "");
  EXPECT_EQ(Scan(packed.SerializeAsString(), {.max_fields = 11}).reason, "TOO_MANY_FIELDS");
  v1::GenerateRequest map;
  for (uint32_t i = 0; i < 10; ++i) (*map.mutable_sampling()->mutable_logit_bias())[i] = 1;
  EXPECT_EQ(Scan(map.SerializeAsString(), {.max_fields = 31}).reason, "");
  EXPECT_EQ(Scan(map.SerializeAsString(), {.max_fields = 30}).reason, "TOO_MANY_FIELDS");
}

TEST(WireScanTest, StopsAtTheFirstFieldOverTheLimitOfAHugeMessage) {
  std::string bytes;
  for (int i = 0; i < 4'000'000; ++i) bytes.append("\x12\x00", 2);
  EXPECT_EQ(Scan(bytes).reason, "TOO_MANY_FIELDS");
  EXPECT_EQ(Scan(bytes).limit, "4096");
}

TEST(WireScanTest, RefusesWhatIsNotTheMessage) {
  for (const char* hex : {"ff",
                          "ffffffffff",
                          "08",
                          "0a05",
                          "0a0561",
                          "1001",
                          "1314",
                          "0b0c",
                          "0200",
                          "80808080808080808080808001",
                          "0affffffffffffffffff01",
                          "2d0000",
                          "2aff01"}) {
    EXPECT_EQ(ScanHex(hex).reason, "MALFORMED_REQUEST") << hex;
  }
}

TEST(WireScanTest, AcceptsExactlyTheValidUtf8) {
  const auto scan = [](const std::string& text) {
    std::string bytes = "\x5a";  // field 11, length-delimited; SerializeAsString would log
    bytes += static_cast<char>(text.size());
    return Scan(bytes + text).reason;
  };
  for (const char* good : {"a",
                           "\xc2\x80",
                           "\xdf\xbf",
                           "\xe0\xa0\x80",
                           "\xed\x9f\xbf",
                           "\xee\x80\x80",
                           "\xf0\x90\x80\x80",
                           "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(scan(good), "") << absl::CHexEscape(good);
  }
  for (const char* bad : {"\x80",
                          "\xc0\x80",
                          "\xc1\xbf",
                          "\xc2",
                          "\xe0\x80\x80",
                          "\xe0\xa0",
                          "\xed\xa0\x80",
                          "\xf0\x80\x80\x80",
                          "\xf0\x90\x80",
                          "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80",
                          "\xff",
                          "a\xc3("}) {
    EXPECT_EQ(scan(bad), "INVALID_UTF8") << absl::CHexEscape(bad);
  }
}

// Whatever passes the scan must parse: ParseFrom neither fails nor logs afterwards. What it refuses
// may still parse (unknown fields, counts).
TEST(WireScanTest, WhatPassesParses) {
  std::mt19937 random(20260504);
  const std::string seed = FullRequest().SerializeAsString();
  int num_passed = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string bytes = seed;
    const int num_changes = 1 + static_cast<int>(random() % 4);
    for (int change = 0; change < num_changes; ++change) {
      switch (random() % 3) {
        case 0:
          bytes[random() % bytes.size()] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(random() % bytes.size(), 1 + random() % 3);
          break;
        case 2:
          bytes.insert(random() % bytes.size(), 1, static_cast<char>(random()));
          break;
      }
    }
    if (!ScanWire(bytes, *v1::GenerateRequest::descriptor(), {}).ok()) continue;
    ++num_passed;
    v1::GenerateRequest request;
    ASSERT_TRUE(request.ParseFromString(bytes)) << absl::BytesToHexString(bytes);
    ASSERT_TRUE(request.GetReflection()->GetUnknownFields(request).empty());
  }
  EXPECT_GT(num_passed, 1000);
}

}  // namespace
}  // namespace parrot
