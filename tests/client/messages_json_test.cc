#include "client/messages/messages_json.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "base/error_status.h"
#include "client/messages/bounded_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;

const std::string kImages = GoldenPath("images/files");

std::string MessageOf(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

TEST(MessagesJson, StringContentIsOneTextPart) {
  const auto messages = ParseMessagesJson(
      R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "h\u00e9"}])",
      {});
  ASSERT_TRUE(messages.ok()) << messages.status();
  ASSERT_EQ(messages->size(), 2u);
  EXPECT_EQ((*messages)[0].role, MessageRole::kSystem);
  EXPECT_EQ((*messages)[1].role, MessageRole::kUser);
  ASSERT_EQ((*messages)[1].parts.size(), 1u);
  EXPECT_EQ((*messages)[1].parts[0].kind, MessagePart::Kind::kText);
  EXPECT_EQ((*messages)[1].parts[0].text, "h\xc3\xa9");
}

TEST(MessagesJson, PartsKeepTheirOrder) {
  const auto messages = ParseMessagesJson(
      R"([{"role": "user", "name": "ann", "content": [
            {"type": "text", "text": "before"},
            {"type": "image_url", "image_url": {"url": "file:rgb_1x1.png", "detail": "auto"}},
            {"type": "text", "text": "after"},
            {"type": "image", "image": "webp_1x1.webp"}]},
          {"role": "assistant", "content": "yes"}])",
      {.base_folder = kImages});
  ASSERT_TRUE(messages.ok()) << messages.status();
  const std::vector<MessagePart>& parts = (*messages)[0].parts;
  ASSERT_EQ(parts.size(), 4u);
  EXPECT_EQ(parts[0].text, "before");
  EXPECT_EQ(parts[1].kind, MessagePart::Kind::kImage);
  EXPECT_EQ(parts[1].image_bytes.substr(1, 3), "PNG");
  EXPECT_EQ(parts[1].mime_type, "");
  EXPECT_EQ(parts[2].text, "after");
  EXPECT_EQ(parts[3].image_bytes.substr(0, 4), "RIFF");
  EXPECT_EQ((*messages)[1].role, MessageRole::kAssistant);
}

TEST(MessagesJson, DataUriIsDecodedAndKeepsItsType) {
  const std::string bytes("\x89PNG\x00\xff", 6);
  const std::string uri = "data:image/png;base64," + absl::Base64Escape(bytes);
  for (const std::string& source :
       {"{\"url\": \"" + uri + "\"}", "\"" + uri + "\"", std::string()}) {
    const std::string part = source.empty()
                                 ? "{\"type\": \"image\", \"image\": \"" + uri + "\"}"
                                 : "{\"type\": \"image_url\", \"image_url\": " + source + "}";
    const auto messages =
        ParseMessagesJson("[{\"role\": \"user\", \"content\": [" + part + "]}]", {});
    ASSERT_TRUE(messages.ok()) << messages.status();
    EXPECT_EQ((*messages)[0].parts[0].image_bytes, bytes);
    EXPECT_EQ((*messages)[0].parts[0].mime_type, "image/png");
  }
}

TEST(MessagesJson, AbsoluteFileUrisIgnoreTheBaseFolder) {
  const std::string json = std::string(R"([{"role": "user", "content": [{"type": "image_url",
      "image_url": {"url": "file://)") +
                           kImages + R"(/rgb_1x1.png"}}]}])";
  const auto messages = ParseMessagesJson(json, {.base_folder = "/nowhere"});
  ASSERT_TRUE(messages.ok()) << messages.status();
  EXPECT_FALSE((*messages)[0].parts[0].image_bytes.empty());
}

TEST(MessagesJson, FilesResolveAgainstTheMessagesFile) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "messages_json_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "picture.bin") << "PICTURE";
  std::ofstream(folder / "messages.json")
      << R"([{"role": "user", "content": [{"type": "image", "image": "file:picture.bin"}]}])";
  const auto messages = ReadMessagesFile((folder / "messages.json").string());
  ASSERT_TRUE(messages.ok()) << messages.status();
  EXPECT_EQ((*messages)[0].parts[0].image_bytes, "PICTURE");
}

struct BadCase {
  const char* json;
  const char* field;
  const char* text;
};

TEST(MessagesJson, ErrorsNameTheJsonPath) {
  const std::vector<BadCase> cases = {
      {R"([{"role": "user", )", "messages", "not valid JSON at byte"},
      {"[{\"role\": \"user\", \"content\": \"\xff\"}]", "messages", "not valid JSON at byte"},
      {R"({"messages": []})", "messages", "is object, not a list"},
      {R"(["hello"])", "messages[0]", "is string, not an object"},
      {R"([{"content": "x"}])", "messages[0].role", "required"},
      {R"([{"role": 3, "content": "x"}])", "messages[0].role", "is number, not a string"},
      {R"([{"role": "tool", "content": "x"}])", "messages[0].role", "'tool' is not system"},
      {R"([{"role": "user"}])", "messages[0].content", "required"},
      {R"([{"role": "user", "content": null}])", "messages[0].content", "is null"},
      {R"([{"role": "user", "content": "x", "cotnent": 1}])",
       "messages[0]",
       "unknown key 'cotnent'"},
      {R"([{"role": "user", "content": [3]}])", "messages[0].content[0]", "is number"},
      {R"([{"role": "user", "content": [{"text": "x"}]}])",
       "messages[0].content[0].type",
       "required"},
      {R"([{"role": "user", "content": [{"type": "audio"}]}])",
       "messages[0].content[0].type",
       "'audio' is not text"},
      {R"([{"role": "user", "content": [{"type": "text"}]}])",
       "messages[0].content[0].text",
       "required"},
      {R"([{"role": "user", "content": [{"type": "image_url"}]}])",
       "messages[0].content[0].image_url",
       "required"},
      {R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 1}}]}])",
       "messages[0].content[0].image_url.url",
       "is number"},
      {R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]}])",
       "messages[0].content[0].image_url.url",
       "nothing is fetched"},
      {R"([{"role": "user", "content": [{"type": "image", "image": "https://h/a.png"}]}])",
       "messages[0].content[0].image",
       "nothing is fetched"},
      {R"([{"role": "user", "content": [{"type": "image", "image": "data:image/png,abc"}]}])",
       "messages[0].content[0].image",
       "data:image/png;base64"},
      {R"([{"role": "user", "content": [{"type": "image", "image": "data:image/png;base64,*"}]}])",
       "messages[0].content[0].image",
       "base64 is not valid"},
  };
  for (const BadCase& bad : cases) {
    const auto messages = ParseMessagesJson(bad.json, {});
    ASSERT_FALSE(messages.ok()) << bad.json;
    EXPECT_EQ(messages.status().code(), absl::StatusCode::kInvalidArgument) << bad.json;
    EXPECT_EQ(GetErrorFacts(messages.status()).field, bad.field) << bad.json;
    EXPECT_THAT(MessageOf(messages.status()), HasSubstr(bad.text)) << bad.json;
  }
}

TEST(MessagesJson, MissingFileIsNotFoundWithThePath) {
  const auto messages = ParseMessagesJson(
      R"([{"role": "user", "content": [{"type": "image", "image": "file:absent.png"}]}])",
      {.base_folder = kImages});
  EXPECT_EQ(messages.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetErrorFacts(messages.status()).field, "messages[0].content[0].image");
  EXPECT_THAT(MessageOf(messages.status()), HasSubstr("absent.png"));
}

TEST(MessagesJson, ImagesOverTheLimitAreRefusedWithBothNumbers) {
  const std::string encoded = absl::Base64Escape(std::string(4000, 'x'));
  for (const std::string& source :
       {"data:image/png;base64," + encoded, std::string("file:jpeg_420_q75_1200x800.jpg")}) {
    const auto messages = ParseMessagesJson(
        "[{\"role\": \"user\", \"content\": [{\"type\": \"image\", \"image\": \"" + source +
            "\"}]}]",
        {.base_folder = kImages, .max_image_bytes = 1000});
    EXPECT_EQ(messages.status().code(), absl::StatusCode::kInvalidArgument);
    const ErrorFacts facts = GetErrorFacts(messages.status());
    EXPECT_EQ(facts.reason, "FILE_TOO_LARGE");
    EXPECT_EQ(facts.limit, "1000");
    EXPECT_FALSE(facts.value.empty());
  }
}

TEST(BoundedFile, ReadsUpToTheLimitAndNoFurther) {
  const std::string path = kImages + "/rgb_1x1.png";
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path));
  const auto whole = ReadBoundedFile(path, size);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(static_cast<int64_t>(whole->size()), size);
  EXPECT_EQ(ReadBoundedFile(path, size - 1).status().code(), absl::StatusCode::kInvalidArgument);
  // A device has no size to ask for beforehand.
  EXPECT_EQ(GetErrorFacts(ReadBoundedFile("/dev/zero", 100000).status()).reason, "FILE_TOO_LARGE");
}

TEST(BoundedFile, FolderAndMissingFileAreErrors) {
  EXPECT_EQ(ReadBoundedFile(kImages, 1000).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadBoundedFile("/nonexistent/x", 1000).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace parrot
