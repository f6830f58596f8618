#include "server/frontend/metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"

namespace parrot {
namespace {

MetricsOptions Options() {
  return {.server_version = "1.2.3",
          .model_name = "parrot \"7B\"\n",  // a label needs escapes
          .model_revision = "abc",
          .device = "cpu",
          .dtype = "float32",
          .num_experts = 6,
          .block_size = 32,
          .num_blocks = 100};
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
  static OutputFinishedEvent Finished() {
    OutputFinishedEvent finished{.reason = FinishReason::kStop};
    finished.usage = {.text_tokens = 10, .image_tokens = 20, .completion_tokens = 5};
    finished.timings.total = absl::Milliseconds(700);
    finished.timings.queue = absl::Milliseconds(7);
    finished.routing = {{.image_idx = 0, .expert_weights = {0.5f, 0.25f, 0.25f, 0, 0, 0}}};
    return finished;
  }

  FakeClock clock_;
  Metrics metrics_{Options(), &clock_};
};

TEST_F(MetricsTest, TextIsCleanToPromtool) {
  EngineLoad load;
  load.num_running = 1;
  metrics_.SetLoadSource([&] { return load; });
  metrics_.SetStateSource([] { return ServerState::kReady; });
  metrics_.SetFrontendSource([] { return std::make_pair(int64_t{1}, int64_t{2}); });
  metrics_.CountRejected("OUT_OF_RANGE");
  metrics_.CountCancelled(CancelStage::kDecode);
  metrics_.CountFinished(Finished(), "en");
  metrics_.CountRouted(Finished(), "zh-CN");
  metrics_.ObserveFirstToken(absl::Milliseconds(5));
  metrics_.ObserveInterToken(absl::Milliseconds(5));
  metrics_.CountImages(1, 1000);
  metrics_.CountRpc("parrot.v1.ParrotService", "Generate", "OK");
  const std::string path = ::testing::TempDir() + "/parrot_metrics.txt";
  std::ofstream(path) << metrics_.Render();
  EXPECT_EQ(std::system(("promtool check metrics < " + path).c_str()), 0);
}

TEST_F(MetricsTest, CountsWhatLanguageLocksBlocked) {
  metrics_.CountBlocked(3, "tr");
  metrics_.CountBlocked(4, "tr");
  metrics_.CountBlocked(0, "ar");
  EXPECT_EQ(Value("parrot_language_lock_blocked_tokens_total{language=\"tr\"}"), 7);
  EXPECT_EQ(Value("parrot_language_lock_blocked_tokens_total{language=\"ar\"}"), 0);
}

TEST_F(MetricsTest, CountsWhatFinished) {
  metrics_.CountFinished(Finished(), "en");
  metrics_.CountFinished(Finished(), "pt-BR");
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
    EXPECT_EQ(Value("parrot_image_cache_queries_total"), 5);
    EXPECT_EQ(Value("parrot_image_cache_hits_total"), 2);
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
  metrics_.CountFinished(finished, "en");
  metrics_.CountFinished(Finished(), "en");
  EXPECT_EQ(Value("parrot_images_answered_total{cache_level=\"kv\"}"), 1);
  EXPECT_EQ(Value("parrot_images_answered_total{cache_level=\"none\"}"), 1);
  EXPECT_EQ(Value("parrot_images_answered_total{cache_level=\"experts\"}"), 0);
}

TEST_F(MetricsTest, TheWarmUpCountsNowhere) {
  EngineLoad load;
  metrics_.SetLoadSource([&] { return load; });
  metrics_.SetWarmingUp(true);
  load.num_prompt_tokens = 300;
  load.num_vision_queries = 1;
  metrics_.CountFinished(Finished(), "en");
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
  EXPECT_EQ(Value("parrot_image_cache_queries_total"), 0);
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
