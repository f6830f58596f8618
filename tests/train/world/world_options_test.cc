#include "train/world/world_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace parrot {
namespace {

WorldCommandLine Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "parrot-world");
  return ParseWorldCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

WorldOptions ParseWorld(std::vector<const char*> arguments) {
  arguments.insert(arguments.end(), {"--output", "somewhere"});
  const WorldCommandLine parsed = Parse(std::move(arguments));
  EXPECT_TRUE(parsed.has_command);
  return std::get<WorldOptions>(parsed.command);
}

int ExitCode(std::vector<const char*> arguments) {
  arguments.insert(arguments.end(), {"--output", "somewhere"});
  const WorldCommandLine parsed = Parse(std::move(arguments));
  EXPECT_FALSE(parsed.has_command);
  return parsed.exit_code;
}

TEST(WorldOptionsTest, ReadsNumbers) {
  const WorldOptions o = ParseWorld(
      {"--seed",     "7", "--train",       "10", "--heldout",     "5",   "--questions",     "34",
       "--threads",  "2", "--dialogs",     "3",  "--size",        "112", "--shapes",        "4",
       "--colors",   "6", "--min-figures", "2",  "--max-figures", "3",   "--digit-percent", "50",
       "--no-images"});
  EXPECT_EQ(o.output_dir, "somewhere");
  EXPECT_EQ(o.seed, 7U);
  EXPECT_EQ(o.num_train, 10);
  EXPECT_EQ(o.num_held_out, 5);
  EXPECT_EQ(o.num_questions, 34);
  EXPECT_EQ(o.num_threads, 2);
  EXPECT_EQ(o.dialogs_per_picture, 3);
  EXPECT_EQ(o.scene.picture_px, 112);
  EXPECT_EQ(o.scene.num_shapes, 4);
  EXPECT_EQ(o.scene.num_colors, 6);
  EXPECT_EQ(o.scene.min_figures, 2);
  EXPECT_EQ(o.scene.max_figures, 3);
  EXPECT_EQ(o.scene.digit_percent, 50);
  EXPECT_FALSE(o.write_images);
}

TEST(WorldOptionsTest, ReadsShares) {
  const DialogOptions o = ParseWorld({"--max-questions",
                                      "4",
                                      "--single-percent",
                                      "1",
                                      "--choice-percent",
                                      "2",
                                      "--suffix-percent",
                                      "3",
                                      "--follow-percent",
                                      "4",
                                      "--caption-percent",
                                      "5",
                                      "--foreign-caption-percent",
                                      "6"})
                              .dialog;
  EXPECT_EQ(o.max_questions, 4);
  EXPECT_EQ(o.single_percent, 1);
  EXPECT_EQ(o.choice_percent, 2);
  EXPECT_EQ(o.suffix_percent, 3);
  EXPECT_EQ(o.follow_percent, 4);
  EXPECT_EQ(o.caption_percent, 5);
  EXPECT_EQ(o.foreign_caption_percent, 6);
}

TEST(WorldOptionsTest, NamedWeightsReplaceAllOthers) {
  const DialogOptions o =
      ParseWorld({"--languages", "en=3,ru", "--categories", "digit,count=2"}).dialog;
  EXPECT_THAT(o.languages, ::testing::ElementsAre(3, 0, 0, 0, 0, 1));
  EXPECT_EQ(o.categories[static_cast<size_t>(Category::kDigit)], 1);
  EXPECT_EQ(o.categories[static_cast<size_t>(Category::kCount)], 2);
  EXPECT_EQ(std::accumulate(o.categories.begin(), o.categories.end(), 0), 3);
}

TEST(WorldOptionsTest, RefusesWhatMakesNoSense) {
  EXPECT_EQ(ExitCode({"--languages", "de"}), 2);
  EXPECT_EQ(ExitCode({"--languages", "en=x"}), 2);
  EXPECT_EQ(ExitCode({"--languages", "en=-1"}), 2);
  EXPECT_EQ(ExitCode({"--categories", "count=0"}), 2);
  EXPECT_EQ(ExitCode({"--shapes", "3"}), 2);
  EXPECT_EQ(ExitCode({"--min-figures", "3", "--max-figures", "2"}), 2);
  EXPECT_EQ(ExitCode({"--choice-percent", "101"}), 2);
  EXPECT_EQ(Parse({}).exit_code, 2) << "there is no output";
  EXPECT_EQ(Parse({"--help"}).exit_code, 0);
}

TEST(WorldOptionsTest, TokenizerIsACommandOfItsOwn) {
  const WorldCommandLine parsed = Parse({"tokenizer",
                                         "--corpus",
                                         "corpus.txt",
                                         "--output",
                                         "out",
                                         "--vocab-size",
                                         "1000",
                                         "--max-length",
                                         "512"});
  ASSERT_TRUE(parsed.has_command);
  const auto& o = std::get<TokenizerOptions>(parsed.command);
  EXPECT_EQ(o.corpus_path, "corpus.txt");
  EXPECT_EQ(o.output_dir, "out");
  EXPECT_EQ(o.vocabulary_size, 1000);
  EXPECT_EQ(o.max_length_tokens, 512);
}

}  // namespace
}  // namespace parrot
