#include "server/options/config_file.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;

TEST(ConfigFileTest, ReadsScalarsListsAndLines) {
  const auto entries = ParseConfigText(
      "# a comment\nmodel: /models/a\nmax-num-seqs: 16\n\nserved-model-name: [a, "
      "b]\nadmin-address: "
      "\"\"\n");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 4u);
  EXPECT_EQ((*entries)[0].key, "model");
  EXPECT_EQ((*entries)[0].value, "/models/a");
  EXPECT_EQ((*entries)[0].line, 2);
  EXPECT_EQ((*entries)[1].value, "16");
  EXPECT_EQ((*entries)[2].value, "a,b");
  EXPECT_EQ((*entries)[3].value, "");
}

TEST(ConfigFileTest, AnEmptyFileHasNoEntries) {
  EXPECT_TRUE(ParseConfigText("")->empty());
  EXPECT_TRUE(ParseConfigText("# nothing\n")->empty());
}

TEST(ConfigFileTest, WhatIsNoFlatMapIsRefusedWithItsLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"- a\n- b\n", "line 1: the file must be a map"},
      {"just text\n", "line 1: the file must be a map"},
      {"a: 1\nb: {c: 2}\n", "line 2: 'b' must be a scalar or a list"},
      {"a: [[1]]\n", "line 1: 'a' must be a list of scalars"},
      {"a: 1\na: 2\n", "line 2: 'a' is given twice"},
      {"a: 1\nb: [1, 2\n", "not valid YAML"},
      {"[1]: 2\n", "line 1: a key must be an option's name"},
  };
  for (const auto& [text, message] : cases) {
    const auto entries = ParseConfigText(text);
    ASSERT_FALSE(entries.ok()) << text;
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr(message)) << text;
  }
}

TEST(ConfigFileTest, AFileThatIsNotThereIsNamedSo) {
  EXPECT_EQ(ReadConfigFile("/nonexistent/file.yaml").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadConfigFile("/").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace parrot
