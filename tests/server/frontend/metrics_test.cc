#include "server/frontend/metrics.h"

#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

MetricsOptions Options() {
  return {.server_version = "1.2.3",
          .model_name = "parrot \"7B\"\n",  // a label needs escapes
          .model_revision = "abc",
          .device = "cpu",
          .dtype = "float32",
          .backend = "cpu avx2",
          .num_experts = 6,
          .block_size = 32,
          .num_blocks = 100};
}

OutputFinishedEvent Finished() {
  OutputFinishedEvent finished{.reason = FinishReason::kStop};
  finished.usage = {.text_tokens = 10, .image_tokens = 20, .completion_tokens = 5};
  finished.timings.total = absl::Milliseconds(700);
  finished.timings.queue = absl::Milliseconds(7);
  finished.routing = {{.image_idx = 0, .expert_weights = {0.5f, 0.25f, 0.25f, 0, 0, 0}}};
  return finished;
}

class MetricsTest : public ::testing::Test {
 protected:
  // The value of a series, NaN if it is not there.
  double Value(const std::string& series) {
    const std::string text = absl::StrCat("\n", metrics_.Render());
    const size_t at = text.find(absl::StrCat("\n", series, " "));
    if (at == std::string::npos) return std::nan("");
    return std::stod(text.substr(at + series.size() + 2));
  }

  FakeClock clock_;
  Metrics metrics_{Options(), &clock_};
};

// Something of everything.
void FeedAll(Metrics& metrics) {
  metrics.SetLoadSource([] {
    return EngineLoad{.num_waiting = 4,
                      .num_running = 3,
                      .num_blocks_total = 100,
                      .num_blocks_used = 25,
                      .num_steps = 60,
                      .num_preemptions = 2,
                      .num_prefix_query_tokens = 900,
                      .num_prefix_hit_tokens = 640,
                      .num_vision_queries = 7,
                      .num_vision_hits = 5,
                      .num_prompt_tokens = 1000,
                      .num_generated_tokens = 250};
  });
  metrics.SetStateSource([] { return ServerState::kReady; });
  metrics.SetFrontendSource([] { return std::make_pair(int64_t{1}, int64_t{2}); });
  metrics.CountRejected("OUT_OF_RANGE");
  metrics.CountCancelled(CancelStage::kDecode);
  metrics.CountParameters(2, 100);
  metrics.CountFinished(Finished(), 9, "en");
  metrics.CountRouted(Finished(), "zh-CN");
  metrics.ObserveFirstToken(absl::Milliseconds(5));
  metrics.ObserveInterToken(absl::Milliseconds(5));
  metrics.CountImages(1, 1000);
  metrics.CountRpc("parrot.v1.ParrotService", "Generate", "OK");
}

// promtool's exit status for a page: 0 clean, 3 a matter of taste, else it cannot be parsed.
int CheckWithPromtool(const std::string& page) {
  const std::string path = ::testing::TempDir() + "/parrot_metrics.txt";
  std::ofstream(path) << page;
  const int status = std::system(("promtool check metrics < " + path + " > /dev/null").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The lines in an order of their own: prometheus-cpp's is that of a hash.
std::vector<std::string> SortedLines(const std::string& text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  std::sort(lines.begin(), lines.end());
  return lines;
}

void ExpectPage(const std::string& page, const std::string& file) {
  std::ifstream expected(SourcePath("tests/server/frontend/data/" + file));
  const std::string text((std::istreambuf_iterator<char>(expected)), {});
  const std::vector<std::string> lines = SortedLines(page);
  const std::string actual = ::testing::TempDir() + "/" + file;
  std::ofstream(actual) << absl::StrJoin(lines, "\n") << "\n";
  EXPECT_EQ(lines, SortedLines(text)) << "if that is meant, copy " << actual;
}

TEST_F(MetricsTest, ThePageIsTheDocumentedOneAndCleanToPromtool) {
  FeedAll(metrics_);
  ExpectPage(metrics_.Render(), "metrics_native.txt");
  EXPECT_EQ(CheckWithPromtool(metrics_.Render()), 0);
}

TEST_F(MetricsTest, VllmsNamesComeBesideTheNativeOnes) {
  MetricsOptions options = Options();
  options.with_vllm_names = true;
  Metrics both(options, &clock_);
  FeedAll(metrics_);
  FeedAll(both);
  std::string page = both.Render();
  // Its names have colons and abbreviations, which promtool reads and does not like.
  EXPECT_EQ(CheckWithPromtool(page), 3);
  const std::string native = metrics_.Render();
  const std::vector<std::string> native_lines = SortedLines(native);
  std::vector<std::string> lines = SortedLines(page);
  std::erase_if(lines, [&](const std::string& line) {
    return std::binary_search(native_lines.begin(), native_lines.end(), line);
  });
  ExpectPage(absl::StrJoin(lines, "\n"), "metrics_vllm.txt");
  for (const std::string& line : lines) EXPECT_TRUE(absl::StrContains(line, "vllm:")) << line;
  EXPECT_EQ(lines.size() + native_lines.size(), SortedLines(page).size());
}

TEST_F(MetricsTest, VllmsNamesLeaveTheWarmUpOutToo) {
  MetricsOptions options = Options();
  options.with_vllm_names = true;
  Metrics metrics(options, &clock_);
  EngineLoad load;
  metrics.SetLoadSource([&] { return load; });
  metrics.SetWarmingUp(true);
  load.num_prompt_tokens = 300;
  metrics.CountParameters(1, 2);
  metrics.CountFinished(Finished(), 5, "en");
  metrics.ObserveFirstToken(absl::Seconds(9));
  metrics.SetWarmingUp(false);
  load.num_prompt_tokens = 340;
  const std::string page = metrics.Render();
  const std::string labels = "{engine=\"0\",model_name=\"parrot \\\"7B\\\"\\n\"";
  EXPECT_TRUE(absl::StrContains(page, "vllm:prompt_tokens_total" + labels + "} 40\n")) << page;
  for (const char* name : {"e2e_request_latency_seconds_count",
                           "time_to_first_token_seconds_count",
                           "request_params_n_count"}) {
    EXPECT_TRUE(absl::StrContains(page, absl::StrCat("vllm:", name, labels, "} 0\n"))) << name;
  }
}

TEST_F(MetricsTest, CountsWhatLanguageLocksBlocked) {
  metrics_.CountBlocked(3, "tr");
  metrics_.CountBlocked(4, "tr");
  metrics_.CountBlocked(0, "ar");
  EXPECT_EQ(Value("parrot_language_lock_blocked_tokens_total{language=\"tr\"}"), 7);
  EXPECT_EQ(Value("parrot_language_lock_blocked_tokens_total{language=\"ar\"}"), 0);
}

TEST_F(MetricsTest, CountsWhatFinished) {
  metrics_.CountFinished(Finished(), 5, "en");
  metrics_.CountFinished(Finished(), 5, "pt-BR");
  EXPECT_EQ(Value("parrot_requests_finished_total{reason=\"stop\"}"), 2);
  EXPECT_EQ(Value("parrot_request_prompt_tokens_sum"), 60);
  EXPECT_EQ(Value("parrot_request_generation_tokens_sum"), 10);
  EXPECT_EQ(Value("parrot_request_duration_seconds_bucket{le=\"0.5\"}"), 0);
  EXPECT_EQ(Value("parrot_request_duration_seconds_bucket{le=\"0.8\"}"), 2);
  EXPECT_EQ(Value("parrot_stage_seconds_count{stage=\"queue\"}"), 2);
  EXPECT_EQ(Value("parrot_stage_seconds_count{stage=\"clip\"}"), 0);  // did not run
  EXPECT_EQ(Value("parrot_moe_expert_weight_sum_total{expert=\"0\",language=\"en\"}"), 0.5);
  EXPECT_EQ(Value("parrot_moe_expert_weight_sum_total{expert=\"1\",language=\"pt\"}"), 0.25);
}

TEST_F(MetricsTest, GaugesAndCountersFollowTheEngine) {
  EngineLoad load;
  metrics_.SetLoadSource([&] { return load; });
  load.num_running = 3;
  load.num_waiting = 4;
  load.num_blocks_total = 100;
  load.num_blocks_used = 25;
  load.num_prompt_tokens = 1000;
  load.num_generated_tokens = 50;
  EXPECT_EQ(Value("parrot_requests_running"), 3);
  EXPECT_EQ(Value("parrot_requests_waiting"), 4);
  EXPECT_EQ(Value("parrot_kv_cache_usage_ratio"), 0.25);
  load.num_prompt_tokens = 1500;
  EXPECT_EQ(Value("parrot_prompt_tokens_total"), 1500);
  EXPECT_EQ(Value("parrot_generation_tokens_total"), 50);
  EXPECT_EQ(Value("parrot_engine_last_step_age_seconds"), 0);
  load.step_in_flight = true;
  load.oldest_step_start = clock_.Now();
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(Value("parrot_engine_last_step_age_seconds"), 3);
}

TEST_F(MetricsTest, CachesAndMishapsFollowTheEngine) {
  EngineLoad load;
  metrics_.SetLoadSource([&] { return load; });
  load.num_prefix_query_tokens = 100;
  load.num_prefix_hit_tokens = 64;
  load.num_vision_queries = 5;
  load.num_vision_hits = 2;
  load.num_vision_evictions = 8;
  load.num_prefix_evictions = 12;
  load.num_blocks_cached = 7;
  load.num_vision_entries = 3;
  load.num_preemptions = 4;
  load.num_retries = 6;
  load.num_steps = 9;
  load.num_failed_steps = 1;
  load.paused = true;
  for (int i = 0; i < 2; ++i) {  // a second look counts nothing twice
    EXPECT_EQ(Value("parrot_prefix_cache_queries_total"), 100);
    EXPECT_EQ(Value("parrot_prefix_cache_hits_total"), 64);
    EXPECT_EQ(Value("parrot_image_cache_queries_total{level=\"features\"}"), 5);
    EXPECT_EQ(Value("parrot_image_cache_hits_total{level=\"features\"}"), 2);
    EXPECT_EQ(Value("parrot_image_cache_evictions_total{level=\"features\"}"), 8);
    EXPECT_EQ(Value("parrot_image_cache_queries_total{level=\"experts\"}"), 0);
    EXPECT_EQ(Value("parrot_prefix_cache_evictions_total"), 12);
    EXPECT_EQ(Value("parrot_kv_cache_cached_blocks"), 7);
    EXPECT_EQ(Value("parrot_image_cache_entries"), 3);
    EXPECT_EQ(Value("parrot_preemptions_total"), 4);
    EXPECT_EQ(Value("parrot_retries_total"), 6);
    EXPECT_EQ(Value("parrot_engine_steps_total"), 9);
    EXPECT_EQ(Value("parrot_engine_failed_steps_total"), 1);
    EXPECT_EQ(Value("parrot_engine_paused"), 1);
  }
  OutputFinishedEvent finished = Finished();
  finished.routing[0].cache_level = CacheLevel::kKv;
  metrics_.CountFinished(finished, 5, "en");
  metrics_.CountFinished(Finished(), 5, "en");
  EXPECT_EQ(Value("parrot_images_answered_total{cache_level=\"kv\"}"), 1);
  EXPECT_EQ(Value("parrot_image_cache_queries_total{level=\"kv\"}"), 2);
  EXPECT_EQ(Value("parrot_image_cache_hits_total{level=\"kv\"}"), 1);
  EXPECT_EQ(Value("parrot_images_answered_total{cache_level=\"none\"}"), 1);
  EXPECT_EQ(Value("parrot_images_answered_total{cache_level=\"experts\"}"), 0);
}

TEST_F(MetricsTest, TheWarmUpCountsNowhere) {
  EngineLoad load;
  metrics_.SetLoadSource([&] { return load; });
  metrics_.SetWarmingUp(true);
  load.num_prompt_tokens = 300;
  load.num_vision_queries = 1;
  metrics_.CountFinished(Finished(), 5, "en");
  metrics_.CountRouted(Finished(), "en");
  metrics_.CountCancelled(CancelStage::kEngine);
  metrics_.CountImages(1, 1000);
  metrics_.ObserveFirstToken(absl::Seconds(9));
  metrics_.ObserveInterToken(absl::Seconds(9));
  EXPECT_EQ(Value("parrot_prompt_tokens_total"), 0);  // a scrape meanwhile
  metrics_.CountRejected("LOADING");
  load.num_prompt_tokens = 310;
  metrics_.SetWarmingUp(false);
  EXPECT_EQ(Value("parrot_prompt_tokens_total"), 0);
  EXPECT_EQ(Value("parrot_image_cache_queries_total{level=\"features\"}"), 0);
  EXPECT_EQ(Value("parrot_requests_finished_total{reason=\"stop\"}"), 0);
  EXPECT_EQ(Value("parrot_requests_finished_total{reason=\"routed\"}"), 0);
  EXPECT_EQ(Value("parrot_cancelled_total{stage=\"engine\"}"), 0);
  EXPECT_EQ(Value("parrot_images_total"), 0);
  EXPECT_EQ(Value("parrot_time_to_first_token_seconds_count"), 0);
  EXPECT_EQ(Value("parrot_inter_token_latency_seconds_count"), 0);
  EXPECT_EQ(Value("parrot_stage_seconds_count{stage=\"queue\"}"), 0);
  EXPECT_EQ(Value("parrot_rejected_total{reason=\"LOADING\"}"), 1);
  load.num_prompt_tokens = 350;
  metrics_.CountImages(1, 1000);
  EXPECT_EQ(Value("parrot_prompt_tokens_total"), 40);
  EXPECT_EQ(Value("parrot_images_total"), 1);
}

TEST_F(MetricsTest, ThePredictorIsShown) {
  EngineLoad load;
  for (int i = 0; i < 100; ++i) load.predictor.Observe(1 + i % 64, i % 2, absl::Milliseconds(40));
  metrics_.SetLoadSource([&] { return load; });
  const StepTimePredictor::Coefficients learned = load.predictor.coefficients();
  const std::string name = "parrot_step_time_prediction_seconds";
  EXPECT_NEAR(Value(name + "{part=\"step\"}"), learned.step, 1e-6);
  EXPECT_NEAR(Value(name + "{part=\"token\"}"), learned.token, 1e-6);
  EXPECT_NEAR(Value(name + "{part=\"image\"}"), learned.image, 1e-6);
  EXPECT_NEAR(
      Value("parrot_step_time_prediction_error_ratio"), load.predictor.mean_relative_error(), 1e-6);
}

TEST_F(MetricsTest, StateIsOneOfFour) {
  metrics_.SetStateSource([] { return ServerState::kDraining; });
  EXPECT_EQ(Value("parrot_server_state{state=\"draining\"}"), 1);
  EXPECT_EQ(Value("parrot_server_state{state=\"ready\"}"), 0);
}

TEST_F(MetricsTest, LanguageIsAClosedSet) {
  const std::pair<const char*, const char*> cases[] = {
      {"en", "en"},
      {"EN", "en"},
      {"zh-Hans-CN", "zh"},
      {"pt-BR", "pt"},
      {"tr", "tr"},
      {"ar-EG", "ar"},
      {"ru", "ru"},
      {"", "other"},
      {"de", "other"},
      {"eng", "other"},
      {"e", "other"},
      {"-", "other"},
      {"other", "other"},
      {"x-en", "other"},
  };
  for (const auto& [tag, label] : cases) EXPECT_EQ(Metrics::LanguageLabel(tag), label) << tag;
}

TEST_F(MetricsTest, ReasonsStayFew) {
  for (int i = 0; i < 1000; ++i) metrics_.CountRejected(absl::StrCat("REASON_", i));
  metrics_.CountRejected("");
  const std::string text = metrics_.Render();
  int num_series = 0;
  for (size_t at = 0; (at = text.find("parrot_rejected_total{", at)) != std::string::npos; ++at) {
    ++num_series;
  }
  EXPECT_EQ(num_series, 65);
  EXPECT_EQ(Value("parrot_rejected_total{reason=\"OTHER\"}"), 937);
}

// Endpoint pickers poll every 50 ms. The figure is for a release build; the border leaves room for
// sanitizers and busy machines.
TEST_F(MetricsTest, RendersFast) {
  absl::Duration best = absl::InfiniteDuration();
  for (int i = 0; i < 20; ++i) {
    const absl::Time start = absl::Now();
    const std::string text = metrics_.Render();
    best = std::min(best, absl::Now() - start);
  }
  RecordProperty("best_render_us", absl::ToInt64Microseconds(best));
  EXPECT_LT(best, absl::Milliseconds(20));
}

}  // namespace
}  // namespace parrot
