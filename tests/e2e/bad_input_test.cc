// Every malformed or unsupported request of data/bad_inputs.jsonl, one by one against one server,
// and what must hold after each: the documented status, a message fit to be shown, nothing left,
// one more rejection counted, and the next good request answered as ever.
#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/grpc/status_details.h"
#include "tests/e2e/bench/calls.h"
#include "tests/e2e/bench/raw_call.h"
#include "tests/e2e/bench/test_server.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using nlohmann::json;

constexpr int kMinRows = 130;
constexpr char kUserText[] = "xyzzy";  // in every request's text; must be in no message

std::vector<json> ReadRows() {
  std::ifstream file(SourcePath("tests/e2e/data/bad_inputs.jsonl"));
  std::vector<json> rows;
  for (std::string line; std::getline(file, line);) rows.push_back(json::parse(line));
  return rows;
}

std::string Repeated(const std::string& text, int count) {
  std::string result;
  result.reserve(text.size() * static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

std::string Varint(size_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

// The row's text with its placeholders filled in.
std::string ExpandedText(const json& row) {
  std::string text = row["textproto"];
  const json expand = row.value("expand", json::object());
  for (const auto& [name, parts] : expand.items()) {
    text = absl::StrReplaceAll(text, {{name, Repeated(parts[0], parts[1])}});
  }
  const json expand_numbered = row.value("expand_numbered", json::object());
  for (const auto& [name, parts] : expand_numbered.items()) {
    std::string numbered;
    for (int i = 0; i < parts[1].get<int>(); ++i) {
      numbered += absl::StrReplaceAll(parts[0].get<std::string>(), {{"#", absl::StrCat(i)}});
    }
    text = absl::StrReplaceAll(text, {{name, numbered}});
  }
  const std::string opening = "@GOLDEN(";
  for (size_t begin = text.find(opening); begin != std::string::npos; begin = text.find(opening)) {
    const size_t end = text.find(')', begin);
    const std::string path = text.substr(begin + opening.size(), end - begin - opening.size());
    text.replace(begin, end + 1 - begin, absl::CEscape(ReadGoldenFile(path)));
  }
  return text;
}

std::unique_ptr<google::protobuf::Message> NewRequest(const std::string& method) {
  if (method == "Route") return std::make_unique<v1::RouteRequest>();
  if (method == "Tokenize") return std::make_unique<v1::TokenizeRequest>();
  if (method == "CountTokens") return std::make_unique<v1::CountTokensRequest>();
  if (method == "PutImage") return std::make_unique<v1::PutImageRequest>();
  if (method == "HasImage") return std::make_unique<v1::HasImageRequest>();
  if (method == "GetModelInfo") return std::make_unique<v1::GetModelInfoRequest>();
  return std::make_unique<v1::GenerateRequest>();
}

std::string RequestBytes(const json& row, const std::string& method) {
  if (row.contains("hex_nested")) {
    const std::string tag = absl::HexStringToBytes(row["hex_nested"]["tag"].get<std::string>());
    std::string bytes;
    for (int i = 0; i < row["hex_nested"]["depth"].get<int>(); ++i) {
      bytes = tag + Varint(bytes.size()) + bytes;
    }
    return bytes;
  }
  if (row.contains("hex")) {
    std::string bytes =
        Repeated(absl::HexStringToBytes(row["hex"].get<std::string>()), row.value("repeat", 1));
    if (row.contains("hex_tail")) {
      const json& tail = row["hex_tail"];
      bytes += Repeated(absl::HexStringToBytes(tail["hex"].get<std::string>()), tail["repeat"]);
    }
    return bytes;
  }
  const std::unique_ptr<google::protobuf::Message> request = NewRequest(method);
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(ExpandedText(row), request.get()))
      << row["name"];
  return request->SerializeAsString();
}

// Sum of all series of a counter in the Prometheus text.
int64_t CounterSum(const std::string& metrics, const std::string& name) {
  int64_t sum = 0;
  const std::vector<std::string> lines = absl::StrSplit(metrics, '\n');
  for (const std::string& line : lines) {
    if (!absl::StartsWith(line, name + "{") && !absl::StartsWith(line, name + " ")) continue;
    double value = 0;
    if (absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) {
      sum += static_cast<int64_t>(value);
    }
  }
  return sum;
}

class BadInputTest : public testing::Test {
 protected:
  // One server for all rows that ask for none of their own.
  TestServer& ServerFor(const json& row) {
    const int32_t num_blocks = row.value("num_blocks", 256);
    std::unique_ptr<TestServer>& server = servers_[num_blocks];
    if (server == nullptr) {
      TestServerConfig config;
      config.num_blocks = num_blocks;
      server = std::make_unique<TestServer>(config);
      good_[num_blocks] = Generate(server->stub(), TextRequest("good", 4));
      EXPECT_TRUE(good_[num_blocks].status.ok());
    }
    return *server;
  }
  void ExpectGoodAnswer(const json& row) {
    const Answer answer = Generate(ServerFor(row).stub(), TextRequest("good", 4));
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.token_ids, good_[row.value("num_blocks", 256)].token_ids);
  }
  grpc::Status Call(TestServer& server, const json& row, const std::string& method) {
    if (channel_ == nullptr || &server != channel_server_) {
      grpc::ChannelArguments arguments;
      arguments.SetMaxSendMessageSize(-1);
      channel_ = server.Channel(arguments);
      channel_server_ = &server;
    }
    grpc::ClientContext context;
    SetDeadline(context);
    const json metadata = row.value("metadata", json::object());
    for (const auto& [name, value] : metadata.items()) {
      context.AddMetadata(name, value);
    }
    return CallRaw(channel_, method, RequestBytes(row, method), context);
  }
  void RunRow(const json& row, const std::string& method);

  std::map<int32_t, std::unique_ptr<TestServer>> servers_;
  std::map<int32_t, Answer> good_;
  std::shared_ptr<grpc::Channel> channel_;
  TestServer* channel_server_ = nullptr;
};

void ExpectPresentable(const grpc::Status& status, int max_bytes) {
  const std::string message = status.error_message();
  EXPECT_LE(message.size(), static_cast<size_t>(max_bytes));
  EXPECT_FALSE(message.empty());
  EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](unsigned char c) {
    return absl::ascii_isprint(c);
  })) << message;
  EXPECT_FALSE(absl::StrContains(message, kUserText)) << message;
  EXPECT_THAT(message, testing::Not(testing::ContainsRegex("0x[0-9a-f]{6}")));  // a pointer
  EXPECT_FALSE(absl::StrContains(message, ".cc")) << message;
  EXPECT_LT(status.error_details().size(), 4096u);
}

void BadInputTest::RunRow(const json& row, const std::string& method) {
  SCOPED_TRACE(absl::StrCat(
      "row ", row["row"].get<int>(), ": ", row["name"].get<std::string>(), " (", method, ")"));
  TestServer& server = ServerFor(row);
  const int64_t before = CounterSum(server.HttpGet("/metrics"), "parrot_rejected_total");
  const grpc::Status status = Call(server, row, method);
  ASSERT_EQ(GrpcCodeName(status.error_code()), row["code"].get<std::string>())
      << status.error_message();
  server.ExpectIdle();
  const int64_t rejected = CounterSum(server.HttpGet("/metrics"), "parrot_rejected_total") - before;
  if (status.ok()) {
    EXPECT_EQ(rejected, 0);
    return;
  }
  EXPECT_EQ(rejected, 1);
  ExpectPresentable(status, row.value("max_message_bytes", 512));
  EXPECT_THAT(status.error_message(), testing::HasSubstr(row.value("message", "")));
  const Details details = DetailsOf(status);
  ASSERT_TRUE(details.error.has_value());
  EXPECT_EQ(details.error->domain(), "parrot");
  if (row.contains("reason")) {
    EXPECT_EQ(details.error->reason(), row["reason"].get<std::string>());
  }
  if (row.contains("field")) {
    const auto& metadata = details.error->metadata();
    const auto field = metadata.find("field");
    ASSERT_NE(field, metadata.end()) << status.error_message();
    EXPECT_EQ(field->second, row["field"].get<std::string>());
  }
  if (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT && row.contains("field")) {
    ASSERT_TRUE(details.bad_request.has_value());
    EXPECT_EQ(details.bad_request->field_violations(0).field(), row["field"].get<std::string>());
  }
  EXPECT_EQ(details.resource.has_value(), status.error_code() == grpc::StatusCode::NOT_FOUND);
  EXPECT_FALSE(details.retry.has_value());
  EXPECT_TRUE(details.request.has_value());
  ExpectGoodAnswer(row);
}

TEST_F(BadInputTest, EveryRowGetsItsStatusAndLeavesNothingBehind) {
  const std::vector<json> rows = ReadRows();
  ASSERT_GE(rows.size(), kMinRows);
  int num_cases = 0;
  for (const json& row : rows) {
    const std::string method = row.value("method", "GenerateUnary");
    RunRow(row, method);
    ++num_cases;
    // The stream refuses what the unary method refuses.
    if (method == "GenerateUnary" && row["code"] != "OK") {
      RunRow(row, "Generate");
      ++num_cases;
    }
    if (HasFatalFailure()) return;
  }
  RecordProperty("cases", num_cases);
  for (const auto& [num_blocks, server] : servers_) {
    EXPECT_FALSE(server->log().Contains(kUserText));
  }
}

// What Pillow refuses we refuse, what a limit forbids too; nothing else may come of such a file.
TEST_F(BadInputTest, EveryBadImageOfTheGoldenSetIsAnsweredOrNamedByItsPart) {
  const std::vector<json> images = ReadJsonLines("bad_images/bad_images.jsonl");
  ASSERT_EQ(images.size(), 31u);
  int num_refused = 0;
  const json row = json::object();
  TestServer& server = ServerFor(row);
  for (const json& image : images) {
    const std::string file = image["file"];
    SCOPED_TRACE(file);
    v1::GenerateRequest request = TextRequest(kUserText, 2);
    std::ifstream bytes(GoldenPath(file), std::ios::binary);
    request.mutable_messages(0)->add_parts()->mutable_image()->set_data(
        std::string(std::istreambuf_iterator<char>(bytes), {}));
    const Answer answer = Generate(server.stub(), request);
    server.ExpectIdle();
    if (answer.status.ok()) {
      EXPECT_FALSE(image["pil_raises"].get<bool>());
      continue;
    }
    ++num_refused;
    ASSERT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
        << answer.status.error_message();
    ExpectPresentable(answer.status, 512);
    const Details details = DetailsOf(answer.status);
    ASSERT_TRUE(details.bad_request.has_value());
    EXPECT_EQ(details.bad_request->field_violations(0).field(), "messages[0].parts[1].image");
    ExpectGoodAnswer(row);
  }
  EXPECT_GE(num_refused, 20);
}

}  // namespace
}  // namespace parrot
