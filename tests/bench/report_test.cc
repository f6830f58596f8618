#include "bench/measure/report.h"

#include <gtest/gtest.h>

#include <string>

namespace parrot {
namespace {

Report SampleReport() {
  Table rates = {.title = "Rates", .columns = {"what", "GB/s"}};
  rates.rows = {{"read", Cell(12.345, 1)}, {"a long name", Cell(7, 1)}};
  Table detail = {.title = "Detail", .columns = {"x"}, .rows = {{"y"}}, .json_alone = true};
  return {.command = "program --flag",
          .machine = "machine",
          .num_threads = 2,
          .tables = {rates, detail}};
}

std::string Printed(const ReportOptions& options) {
  testing::internal::CaptureStdout();
  EXPECT_TRUE(WriteReport(SampleReport(), options));
  return testing::internal::GetCapturedStdout();
}

TEST(ReportTest, TextAlignsNumbersToTheRight) {
  EXPECT_EQ(Printed({}),
            "program --flag\nmachine, 2 threads\n\nRates\n"
            "what         GB/s\n"
            "read         12.3\n"
            "a long name   7.0\n");
}

TEST(ReportTest, MarkdownNamesCommandAndMachine) {
  const std::string text = Printed({.markdown = true});
  EXPECT_NE(text.find("`program --flag`, 2 threads, machine, 20"), std::string::npos) << text;
  EXPECT_NE(text.find("### Rates\n\n"
                      "| what        | GB/s |\n"
                      "| ----------- | ---: |\n"
                      "| read        | 12.3 |\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("Detail"), std::string::npos);
}

TEST(ReportTest, SaysThatAFileCannotBeWritten) {
  testing::internal::CaptureStdout();
  EXPECT_FALSE(WriteReport(SampleReport(), {.json = "/no such folder/report.json"}));
  testing::internal::GetCapturedStdout();
}

TEST(CommandLineTest, LeavesOutFoldersAndWhereResultsGo) {
  std::string words[] = {"a/b/program", "kernels", "--json", "x.json", "--markdown", "--rows", "1"};
  char* argv[7];
  for (int i = 0; i < 7; ++i) argv[i] = words[i].data();
  EXPECT_EQ(CommandLine(7, argv), "program kernels --rows 1");
}

}  // namespace
}  // namespace parrot
