// What a benchmark writes: vLLM's keys, rows, a page that holds no foreign markup.
#include "client/bench/bench_report.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "bench_samples.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kHostile[] = "<script>alert('\"&')</script>";

class BenchReportTest : public testing::Test {
 protected:
  BenchReportTest() {
    result_.duration = absl::Seconds(2);
    result_.peak_running = 2;
    result_.num_connections = 1;
    result_.samples = {CompletedSample("en", {{100, 1}, {150, 1}, {250, 1}}),
                       CompletedSample("pt", {{300, 1}}),
                       FailedSample("pt", "INTERNAL", "STEP_FAILED", "a \"bad\",\nstep")};
    result_.samples[0].cache_levels = {v1::CACHE_LEVEL_FEATURES};
    description_.target = "127.0.0.1:1";
    description_.model = "nano";
    description_.request_rate = std::numeric_limits<double>::infinity();
    description_.max_concurrency = 2;
    description_.percentiles = {50, 99, 99.9};
  }

  BenchReport Report() {
    summary_ = Summarize(result_, description_);
    return {.description = description_, .summary = summary_, .result = result_};
  }

  BenchDescription description_;
  LoadResult result_;
  BenchSummary summary_;
};

TEST_F(BenchReportTest, JsonHasTheKeysOfVllm) {
  const json object = json::parse(BenchJson(Report(), /*detailed=*/false));
  std::vector<std::string> expected = {"date",
                                       "backend",
                                       "endpoint_type",
                                       "label",
                                       "model_id",
                                       "tokenizer_id",
                                       "num_prompts",
                                       "request_rate",
                                       "burstiness",
                                       "max_concurrency",
                                       "duration",
                                       "completed",
                                       "failed",
                                       "total_input_tokens",
                                       "total_output_tokens",
                                       "request_throughput",
                                       "request_goodput",
                                       "output_throughput",
                                       "total_token_throughput",
                                       "max_output_tokens_per_s",
                                       "max_concurrent_requests",
                                       "parrot"};
  for (const char* metric : {"ttft", "tpot", "itl", "e2el"}) {
    for (const char* figure : {"mean", "median", "std", "p50", "p99", "p99.9"}) {
      expected.push_back(std::string(figure) + "_" + metric + "_ms");
    }
  }
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  EXPECT_THAT(keys, testing::UnorderedElementsAreArray(expected));
  EXPECT_EQ(object["model_id"], "nano");
  EXPECT_EQ(object["num_prompts"], 3);
  EXPECT_EQ(object["request_rate"], "inf");
  EXPECT_EQ(object["max_concurrency"], 2);
  EXPECT_EQ(object["completed"], 2);
  EXPECT_EQ(object["failed"], 1);
  EXPECT_EQ(object["total_output_tokens"], 4);
  EXPECT_EQ(object["request_throughput"], 1.0);
  EXPECT_EQ(object["output_throughput"], 2.0);
  EXPECT_EQ(object["total_token_throughput"], 102.0);
  EXPECT_EQ(object["mean_ttft_ms"], 200.0);
  EXPECT_EQ(object["mean_tpot_ms"], 75.0);
  EXPECT_EQ(object["request_goodput"], nullptr);
  EXPECT_EQ(object["parrot"]["languages"][1]["language"], "pt");
  EXPECT_EQ(object["parrot"]["languages"][1]["failed"], 1);
  EXPECT_EQ(object["parrot"]["cache_levels"], (json{{"features", 1}}));
  EXPECT_EQ(object["parrot"]["errors"][0],
            (json{{"code", "INTERNAL"}, {"reason", "STEP_FAILED"}, {"count", 1}}));
  EXPECT_EQ(object["parrot"]["server_stages"]["mean_queue_ms"], 250.0);
  EXPECT_EQ(object["parrot"]["mean_schedule_lag_ms"].get<double>() > 0, true);
}

TEST_F(BenchReportTest, DetailedJsonHasAListEntryARequest) {
  description_.levels = {.ttft = absl::Milliseconds(200)};
  const json object = json::parse(BenchJson(Report(), /*detailed=*/true));
  EXPECT_EQ(object["request_goodput"], 0.5);
  EXPECT_EQ(object["parrot"]["goodput_slos_ms"], (json{{"ttft", 200.0}}));
  EXPECT_EQ(object["input_lens"], (json{100, 100, 0}));
  EXPECT_EQ(object["output_lens"], (json{3, 1, 0}));
  EXPECT_EQ(object["ttfts"], (json{0.1, 0.3, 0.0}));
  EXPECT_EQ(object["itls"], (json{{0.05, 0.1}, json::array(), json::array()}));
  EXPECT_EQ(object["errors"], (json{"", "", "INTERNAL STEP_FAILED: a \"bad\",\nstep"}));
}

TEST_F(BenchReportTest, JsonSurvivesBytesThatAreNotText) {
  result_.samples[2].error_message = "\xff\xfe";
  EXPECT_TRUE(json::accept(BenchJson(Report(), /*detailed=*/true)));
}

TEST_F(BenchReportTest, CsvHasARowARequest) {
  result_.samples[2].error_message = "=bad";
  const std::string csv = BenchCsv(Report());
  const std::vector<std::string> lines = absl::StrSplit(csv, '\n');
  ASSERT_THAT(lines, SizeIs(5));  // names, three rows, the end
  EXPECT_THAT(lines[0], StartsWith("ordinal,request_id,language,images,outcome,error_code,"));
  EXPECT_THAT(lines[1],
              StartsWith("0,req,en,0,completed,,,,length,1.000000,1.002000,1.260000,100.000,"
                         "75.000,260.000,100,32,3,9,features,"));
  EXPECT_THAT(lines[3], StartsWith("0,,pt,0,failed,INTERNAL,STEP_FAILED,'=bad,,"));
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(std::count(lines[i].begin(), lines[i].end(), ','),
              std::count(lines[0].begin(), lines[0].end(), ','));
  }
}

TEST_F(BenchReportTest, CsvQuotesWhatWouldBreakARow) {
  EXPECT_THAT(BenchCsv(Report()), HasSubstr(",\"a \"\"bad\"\",\nstep\","));
}

TEST_F(BenchReportTest, TextIsABlockOfFiftyColumnsAndTheRest) {
  const std::string text = BenchText(Report());
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  EXPECT_EQ(lines[0], "============ Serving Benchmark Result ============");
  EXPECT_THAT(lines, Contains("Successful requests:                     2         "));
  EXPECT_THAT(lines, Contains("---------------Time to First Token----------------"));
  EXPECT_THAT(lines, Contains("Mean TTFT (ms):                          200.00    "));
  EXPECT_THAT(lines, Contains("P99.9 E2EL (ms):                         309.95    "));
  EXPECT_THAT(lines, Contains("INTERNAL STEP_FAILED:                    1         "));
  EXPECT_THAT(text, Not(HasSubstr("goodput")));
}

// Every element is closed in its order; void elements of the head have no end.
void ExpectWellFormed(const std::string& html) {
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = html.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find(' '));
    if (name[0] == '!' || name == "meta" || tag.back() == '/') continue;
    if (name[0] != '/') {
      open.push_back(name);
      continue;
    }
    ASSERT_FALSE(open.empty()) << tag;
    ASSERT_EQ("/" + open.back(), name);
    open.pop_back();
  }
  EXPECT_TRUE(open.empty());
}

TEST_F(BenchReportTest, HtmlIsWellFormedAndItsPlotsAreInline) {
  const std::string html = BenchHtml(Report());
  ExpectWellFormed(html);
  EXPECT_THAT(html, StartsWith("<!DOCTYPE html>"));
  EXPECT_THAT(html, HasSubstr("<svg "));
  EXPECT_THAT(html, HasSubstr("<td>pt</td>"));
  EXPECT_THAT(html, HasSubstr("<td>STEP_FAILED</td>"));
  for (const char* foreign : {"<script", "src=", "href=", "@import", "url("}) {
    EXPECT_THAT(html, Not(HasSubstr(foreign)));
  }
}

TEST_F(BenchReportTest, HtmlEscapesEveryTextOfOthers) {
  description_.target = description_.model = description_.workload = kHostile;
  for (RequestSample& sample : result_.samples) {
    sample.language += kHostile;
    sample.error_code = sample.error_reason = sample.error_message = kHostile;
    sample.request_id = kHostile;
  }
  const std::string html = BenchHtml(Report());
  ExpectWellFormed(html);
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;"));
}

TEST_F(BenchReportTest, AnEmptyRunIsReportedInEveryFormat) {
  result_ = {};
  const BenchReport report = Report();
  ExpectWellFormed(BenchHtml(report));
  EXPECT_TRUE(json::accept(BenchJson(report, true)));
  EXPECT_THAT(BenchText(report), HasSubstr("Successful requests:                     0"));
  EXPECT_THAT(BenchCsv(report), EndsWith("server_total_ms\n"));
}

TEST_F(BenchReportTest, TheSuffixDecidesTheFormatOfAFile) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "parrot_bench_report";
  std::filesystem::create_directories(folder);
  const BenchReport report = Report();
  for (const auto& [name, text] : {std::pair("a.json", BenchJson(report, true)),
                                   std::pair("a.csv", BenchCsv(report)),
                                   std::pair("a.html", BenchHtml(report))}) {
    const std::string path = (folder / name).string();
    EXPECT_TRUE(SaveReport(report, /*detailed=*/true, path).ok());
    std::ifstream file(path, std::ios::binary);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
  }
  EXPECT_TRUE(absl::IsInvalidArgument(BenchFormatOf("a.yaml").status()));
  EXPECT_FALSE(SaveReport(report, true, (folder / "none" / "a.json").string()).ok());
}

}  // namespace
}  // namespace parrot
