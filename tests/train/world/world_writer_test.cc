#include "train/world/world_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"

namespace parrot {
namespace {

namespace fs = std::filesystem;

class WorldWriterTest : public ::testing::Test {
 protected:
  WorldWriterTest()
      : dir_(fs::temp_directory_path() / ("parrot_world_" + std::to_string(getpid()))) {
    options_.num_train = 30;
    options_.num_held_out = 40;
    options_.num_questions = 34;
  }
  ~WorldWriterTest() override { fs::remove_all(dir_); }

  // Every file written, by its path in the world.
  std::map<std::string, std::string> Write() {
    fs::remove_all(dir_);
    options_.output_dir = dir_.string();
    const absl::Status status = WriteWorld(options_);
    EXPECT_TRUE(status.ok()) << status;
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(dir_)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      files[fs::relative(entry.path(), dir_).string()] = {std::istreambuf_iterator<char>(file), {}};
    }
    return files;
  }

  const fs::path dir_;
  WorldOptions options_;
};

TEST_F(WorldWriterTest, WritesEveryFile) {
  const auto files = Write();
  EXPECT_EQ(files.size(), 30U + 4 + 40 + 1 + 24 + 2);
  for (const char* name : {"dialogs", "captions", "text"}) {
    const auto samples = nlohmann::json::parse(files.at("train/" + std::string(name) + ".json"));
    EXPECT_EQ(samples.size(), name == std::string("captions") ? 30U : 60U) << name;
    for (const auto& sample : samples) {
      EXPECT_EQ(sample.contains("image"), name != std::string("text"));
      if (sample.contains("image")) {
        EXPECT_TRUE(files.contains("train/images/" + sample["image"].get<std::string>()));
      }
    }
  }
  const auto lexicon = nlohmann::json::parse(files.at("lexicon.json"));
  EXPECT_EQ(lexicon["shape"]["star"],
            nlohmann::json({{"en", "star"},
                            {"zh", "星形"},
                            {"pt", "estrela"},
                            {"ar", "نجمة"},
                            {"tr", "yıldız"},
                            {"ru", "звезда"}}));
  EXPECT_EQ(lexicon["cell"].size(), 9U);
  const std::string& tsv = files.at("eval/Mini-MMMB-open_cn.tsv");
  const std::string row = tsv.substr(tsv.find('\n') + 1, tsv.find('\n', tsv.find('\n') + 1));
  const std::string image =
      row.substr(row.find("\ttest\t") + 6, row.find('\n') - row.find("\ttest\t") - 6);
  std::string png;
  ASSERT_TRUE(absl::Base64Unescape(image, &png));
  EXPECT_EQ(png.substr(1, 3), "PNG");
}

TEST_F(WorldWriterTest, LeavesOutConversationsWithoutQuestions) {
  options_.dialog.categories.fill(0);
  options_.dialog.categories[static_cast<size_t>(Category::kDigit)] = 1;
  const auto samples = nlohmann::json::parse(Write().at("train/dialogs.json"));
  EXPECT_GT(samples.size(), 0U);
  EXPECT_LT(samples.size(), 60U);
}

TEST_F(WorldWriterTest, IsTheSameForEveryNumberOfThreads) {
  options_.num_threads = 1;
  const auto one = Write();
  options_.num_threads = 4;
  EXPECT_EQ(Write(), one);
}

TEST_F(WorldWriterTest, OptionsOfDialogsLeaveThePicturesAlone) {
  const auto all = Write();
  options_.dialog.languages = {1, 0, 0, 0, 0, 0};
  const auto english = Write();
  EXPECT_NE(english.at("train/dialogs.json"), all.at("train/dialogs.json"));
  for (const auto& [name, bytes] : english) {
    if (name.find("images") != std::string::npos || name.find("eval") != std::string::npos) {
      EXPECT_EQ(bytes, all.at(name)) << name;
    }
  }
  options_.write_images = false;
  EXPECT_EQ(Write().size(), english.size() - 30 - 40);
}

TEST_F(WorldWriterTest, SaysWhatCannotBeWritten) {
  std::ofstream(dir_.string()) << "a file where the folder should be";
  options_.output_dir = dir_.string();
  EXPECT_EQ(WriteWorld(options_).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace parrot
