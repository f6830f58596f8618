#include "model/weights/safetensors_file.h"

#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/weights/safetensors_writer.h"
#include "tests/model/weights/checkpoint_files.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

std::string Bytes(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(SafetensorsFileTest, HandsOutTheBytesOfATensor) {
  const TempDir dir;
  WriteBytes(dir.File("a.safetensors"),
             SafetensorsBytes({{"x", "U8", {3}, "abc"}, {"y", "U8", {2, 2}, "defg"}}));
  const auto file = SafetensorsFile::Open(dir.File("a.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_NE((*file)->Find("y"), nullptr);
  EXPECT_EQ(Bytes((*file)->Data(*(*file)->Find("y"))), "defg");
  EXPECT_EQ((*file)->Find("z"), nullptr);
  EXPECT_EQ((*file)->base_name(), "a.safetensors");
  (*file)->Prefetch(*(*file)->Find("x"));
  EXPECT_TRUE((*file)->CheckUnchanged().ok());
}

TEST(SafetensorsFileTest, NoticesThatTheFileShrank) {
  const TempDir dir;
  const std::string path = dir.File("a.safetensors");
  WriteBytes(path, SafetensorsBytes({{"x", "U8", {100000}, std::string(100000, 'x')}}));
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(path, 4096);
  const absl::Status status = (*file)->CheckUnchanged();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Text(status), "a.safetensors: changed while it was in use");
}

TEST(SafetensorsFileTest, NamesTheFileButNotItsFolder) {
  const TempDir dir;
  const std::string path = dir.File("weights.safetensors");
  WriteBytes(path, "{}");
  const auto file = SafetensorsFile::Open(path);
  EXPECT_THAT(Text(file.status()), StartsWith("weights.safetensors: is too short"));
  EXPECT_EQ(GetErrorFacts(file.status()).field, "weights.safetensors");
  EXPECT_EQ(Text(file.status()).find(dir.path()), std::string::npos);
}

TEST(SafetensorsFileTest, RefusesWhatIsNoFile) {
  const TempDir dir;
  EXPECT_EQ(SafetensorsFile::Open(dir.File("none.safetensors")).status().code(),
            absl::StatusCode::kNotFound);
  std::filesystem::create_directory(dir.File("folder.safetensors"));
  EXPECT_THAT(Text(SafetensorsFile::Open(dir.File("folder.safetensors")).status()),
              HasSubstr("is not a regular file"));
  ASSERT_EQ(mkfifo(dir.File("fifo.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(Text(SafetensorsFile::Open(dir.File("fifo.safetensors")).status()),
              HasSubstr("is not a regular file"));
}

TEST(SafetensorsWriterTest, WritesWhatTheReaderReads) {
  const TempDir dir;
  const std::vector<float> floats = {1.0f, -2.5f, 3.0f};
  const std::vector<int64_t> ids = {7, -200};
  const std::string path = dir.File("out.safetensors");
  const absl::Status written =
      WriteSafetensors(path,
                       {{.name = "r",
                         .type = SafetensorsType::kF32,
                         .shape = {3},
                         .bytes = std::as_bytes(std::span(floats))},
                        {.name = "ids",
                         .type = SafetensorsType::kI64,
                         .shape = {1, 2},
                         .bytes = std::as_bytes(std::span(ids))},
                        {.name = "none", .type = SafetensorsType::kU8, .shape = {0}}},
                       {{"producer", "test"}});
  ASSERT_TRUE(written.ok()) << written;
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().size(), 3u);
  EXPECT_EQ((*file)->metadata().at("producer"), "test");
  EXPECT_EQ((*file)->header_text().size() % 8, 0u);
  const SafetensorsTensor* r = (*file)->Find("r");
  ASSERT_NE(r, nullptr);
  EXPECT_EQ(std::memcmp((*file)->Data(*r).data(), floats.data(), 12), 0);
  EXPECT_THAT((*file)->Find("ids")->shape, ElementsAre(1, 2));
  EXPECT_EQ((*file)->Find("ids")->begin, 0u);  // the widest first
}

TEST(SafetensorsWriterTest, RefusesInconsistentEntriesAndLeavesTheOldFile) {
  const TempDir dir;
  const std::string path = dir.File("out.safetensors");
  WriteBytes(path, "old");
  const std::vector<float> floats = {1.0f};
  const SafetensorsEntry good{.name = "a", .shape = {1}, .bytes = std::as_bytes(std::span(floats))};
  SafetensorsEntry wrong = good;
  wrong.shape = {2};
  EXPECT_THAT(Text(WriteSafetensors(path, {wrong})), HasSubstr("size differs"));
  wrong.shape = {int64_t{1} << 62, 8};
  EXPECT_THAT(Text(WriteSafetensors(path, {wrong})), HasSubstr("shape overflows"));
  EXPECT_THAT(Text(WriteSafetensors(path, {good, good})), HasSubstr("duplicate name"));
  EXPECT_EQ(ReadBytes(path), "old");
}

TEST(SafetensorsWriterTest, SaysWhenTheFolderIsNotThere) {
  const TempDir dir;
  const absl::Status status = WriteSafetensors(dir.File("none/out.safetensors"), {});
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Text(status), StartsWith("out.safetensors: cannot be written"));
}

}  // namespace
}  // namespace parrot
