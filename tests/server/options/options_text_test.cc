#include "server/options/options_text.h"

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/options/option_table.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;

TEST(OptionsTextTest, TheConfigurationPageIsUpToDate) {
  std::ifstream file(SourcePath("docs/configuration.md"));
  const std::string page((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(page == ConfigurationPage())
      << "run: parrot-server --help-markdown > docs/configuration.md";
}

TEST(OptionsTextTest, HelpNamesEveryOptionWithinAHundredColumns) {
  const std::string help = HelpText();
  for (const OptionSpec& spec : OptionTable()) EXPECT_THAT(help, HasSubstr("--" + spec.name));
  const std::vector<std::string> lines = absl::StrSplit(help, '\n');
  for (const std::string& line : lines) EXPECT_LE(line.size(), 105u) << line;
}

}  // namespace
}  // namespace parrot
