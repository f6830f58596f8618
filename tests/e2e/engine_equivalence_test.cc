// The engine with the real model in float32: whatever the scheduler does with a request (batch it,
// cut its prompt, preempt it, take its prefix or its image from a cache, sample it n times), its
// token ids are those it gets alone on a cold engine. Each golden prompt is asked in several ways,
// greedily and with seeded sampling.
//
// On a CPU with our own kernels there is no excuse. The reference backend, which computes where
// they cannot, calls BLAS, which rounds by the shape of a call; so a token may differ where the two
// best logits are closer than the rounding that was measured on the tokens before, or where a draw
// falls so close to the border of two tokens that as small a change of the temperature gives the
// other one. Such cases are printed and counted.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "gtest/gtest.h"
#include "model/runtime/model_runner_factory.h"
#include "scheduler/engine.h"
#include "tests/model/golden_prompts/golden_prompts.h"

namespace parrot {
namespace {

constexpr int32_t kMaxNewTokens = 12;
constexpr int32_t kTokensAfterChunks = 2;
constexpr int32_t kNumSamples = 3;
constexpr int32_t kPromptTop = 3;  // of requests that want log-probabilities of their prompts
constexpr float kPromptTolerance = 5e-3f;  // of these, as of recorded logits

// What one sequence was answered.
struct Answer {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::vector<float> margins;                                    // best minus second best logit
  std::map<int32_t, std::pair<TokenId, float>> prompt_logprobs;  // by position; of some requests
  FinishEvent finish;
};
using Answers = std::map<std::pair<size_t, int32_t>, Answer>;  // by request and sequence

class AnswerSink final : public EventSink {
 public:
  void OnEvents(std::vector<EngineEvent>& events) override {
    absl::MutexLock lock(&mutex_);
    for (const EngineEvent& event : events) {
      if (const auto* token = std::get_if<TokenEvent>(&event)) {
        Answer& answer = answers_[{token->key, token->sequence_idx}];
        answer.tokens.push_back(token->token);
        answer.logprobs.push_back(token->logprob);
        answer.margins.push_back(token->top.at(0).logprob - token->top.at(1).logprob);
      } else if (const auto* scored = std::get_if<PromptLogprobEvent>(&event)) {
        std::map<int32_t, std::pair<TokenId, float>>& scores =
            answers_[{scored->key, 0}].prompt_logprobs;
        EXPECT_TRUE(
            scores.emplace(scored->position, std::pair(scored->token, scored->logprob)).second);
        EXPECT_EQ(scored->top.size(), static_cast<size_t>(kPromptTop));
      } else if (const auto* finish = std::get_if<FinishEvent>(&event)) {
        answers_[{finish->key, finish->sequence_idx}].finish = *finish;
        ++num_finished_;
      }
    }
  }

  Answers Await(int num_sequences) {
    absl::MutexLock lock(&mutex_);
    const auto done = [this, num_sequences]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return num_finished_ == num_sequences;
    };
    mutex_.Await(absl::Condition(&done));
    num_finished_ = 0;
    return std::exchange(answers_, {});
  }

 private:
  absl::Mutex mutex_;
  Answers answers_ ABSL_GUARDED_BY(mutex_);
  int num_finished_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One prompt as the front end would hand it over: visual tokens expanded.
std::shared_ptr<Request> MakeRequest(const GoldenPrompt& prompt, const GoldenPrompts& golden) {
  const ModelConfig& config = golden.checkpoint().config();
  auto request = std::make_shared<Request>();
  for (const TokenId id : prompt.ids) {
    if (id != kVisualToken) {
      request->token_ids.push_back(id);
      continue;
    }
    PlacedImage placed;
    placed.image = prompt.images.at(request->images.size());
    placed.position = request->num_prompt_tokens();
    placed.num_tokens = config.vision.num_tokens();
    request->token_ids.insert(request->token_ids.end(), placed.num_tokens, kVisualToken);
    request->images.push_back(std::move(placed));
  }
  request->text_ids = prompt.text_ids();
  request->max_tokens = kMaxNewTokens;
  request->stop_token_ids = {config.eos_token_id};
  request->sampling.num_logprobs = 2;
  return request;
}

// Several ways to ask each prompt; at least 300 over all checkpoints.
std::vector<std::shared_ptr<Request>> MakeRequests(const GoldenPrompts& golden) {
  std::vector<std::shared_ptr<Request>> requests;
  for (const GoldenPrompt& prompt : golden.prompts()) {
    if (prompt.kind == "truncated") continue;  // longer than the context: refused here
    for (int way = 0; way < 6; ++way) {
      std::shared_ptr<Request> request = MakeRequest(prompt, golden);
      SamplingParams& sampling = request->sampling;
      if (way == 0) sampling.num_prompt_logprobs = kPromptTop;
      if (way >= 2) sampling.temperature = 0.5f + 0.25f * static_cast<float>(way);
      if (way == 3) sampling.top_k = 20;
      if (way == 4) sampling.top_p = 0.9f;
      if (way == 1 || way == 5) sampling.repetition_penalty = 1.3f;
      sampling.seed = 1'000 * requests.size() + static_cast<uint64_t>(way);
      requests.push_back(std::move(request));
    }
  }
  return requests;
}

struct Setup {
  int32_t max_num_seqs = 1;
  int32_t chunk_tokens = 4096;
  bool prefix_caching = false;
  bool keep_features = false;
  bool keep_experts = false;
  int64_t kv_bytes = int64_t{256} << 20;
  int32_t block_size = 32;
  int32_t num_passes = 1;  // over the same requests, on one engine
};

struct Outcome {
  const GoldenPrompts* golden = nullptr;
  std::vector<std::shared_ptr<Request>> requests;
  std::vector<Answers> passes;
  EngineLoad load;
};

std::unique_ptr<ModelExecutor> MakeRunner(const GoldenPrompts& golden, const Setup& setup) {
  ModelRunnerOptions options;
  options.dtype = ComputeDtype::kFloat32;
  options.num_threads = 1;  // the checkpoints are tested side by side
  options.max_num_seqs = 16;
  options.max_num_batched_tokens = 8192;
  options.kv_cache_memory_bytes = setup.kv_bytes;
  options.block_size = setup.block_size;
  options.vision_cache_experts = setup.keep_experts;
  options.vocab_size = golden.vocab_size();
  absl::StatusOr<std::unique_ptr<ModelExecutor>> runner =
      CreateModelRunner(golden.checkpoint(), options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  return runner.ok() ? *std::move(runner) : nullptr;
}

// Memory for so many tokens. Backends pad blocks as they like: asks one.
int64_t KvBytesOf(const GoldenPrompts& golden, int64_t num_tokens, int32_t block_size) {
  const Setup setup = {.block_size = block_size};
  const int64_t num_blocks = MakeRunner(golden, setup)->capacity().num_blocks;
  return setup.kv_bytes * ((num_tokens + block_size - 1) / block_size) / num_blocks + 1;
}

Outcome RunAll(const GoldenPrompts& golden,
               const std::vector<std::shared_ptr<Request>>& requests,
               const Setup& setup) {
  const std::unique_ptr<ModelExecutor> runner = MakeRunner(golden, setup);
  EngineOptions options;
  options.max_num_seqs = setup.max_num_seqs;
  options.max_num_batched_tokens = setup.chunk_tokens;
  options.max_images_per_step = 4;
  options.max_model_len = 4096;
  options.max_queue_size = 100'000;
  options.queue_timeout = absl::InfiniteDuration();
  options.enable_prefix_caching = setup.prefix_caching;
  if (setup.keep_features) options.vision_cache_memory_bytes = int64_t{1} << 30;
  AnswerSink sink;
  Engine engine(options, runner.get(), &sink, &Clock::Real());
  engine.Start();
  Outcome outcome = {.golden = &golden, .requests = requests};
  for (int32_t pass = 0; pass < setup.num_passes; ++pass) {
    int num_sequences = 0;
    engine.Pause();  // all of them are there when the first step is built: the same steps each time
    for (size_t i = 0; i < requests.size(); ++i) {
      auto request = std::make_shared<Request>(*requests[i]);
      request->key = i;
      num_sequences += request->num_sequences;
      const absl::Status added = engine.Add(std::move(request));
      EXPECT_TRUE(added.ok()) << added;
      if (!added.ok()) return outcome;
    }
    engine.Resume();
    outcome.passes.push_back(sink.Await(num_sequences));
  }
  outcome.load = engine.load();
  engine.Stop();
  return outcome;
}

struct Comparison {
  int num_requests = 0;
  int num_tokens = 0;
  int num_prompt_logprobs = 0;
  int num_excused = 0;
  float rounding = 0.0f;
};

// The smallest relative change of the temperature, of those tried, with which the request alone
// draws `token` after the first `k` of the expected tokens; infinity when none does.
float ChangeThatDraws(const GoldenPrompts& golden,
                      const Request& request,
                      const Answer& expected,
                      size_t k,
                      TokenId token) {
  for (const float change : {1e-6f, 3e-6f, 1e-5f, 3e-5f}) {
    for (const float factor : {1.0f - change, 1.0f + change}) {
      auto changed = std::make_shared<Request>(request);
      changed->sampling.temperature *= factor;
      const Answers answers = RunAll(golden, {changed}, {}).passes.at(0);
      const std::vector<TokenId>& tokens = answers.at({0, 0}).tokens;
      if (tokens.size() > k && tokens[k] == token &&
          std::equal(
              tokens.begin(), tokens.begin() + static_cast<int64_t>(k), expected.tokens.begin())) {
        return change;
      }
    }
  }
  return std::numeric_limits<float>::infinity();
}

// The largest difference of logits that rounding made on the tokens both agree on, and whether the
// first token on which they do not was closer than that.
void Compare(const Outcome& outcome,
             std::pair<size_t, int32_t> key,
             const Answer& expected,
             const Answer& actual,
             Comparison* comparison) {
  const Request& request = *outcome.requests.at(key.first);
  ++comparison->num_requests;
  EXPECT_EQ(expected.prompt_logprobs.size(), actual.prompt_logprobs.size());
  for (const auto& [position, score] : expected.prompt_logprobs) {
    const auto it = actual.prompt_logprobs.find(position);
    ASSERT_NE(it, actual.prompt_logprobs.end());
    EXPECT_EQ(it->second.first, score.first);
    EXPECT_NEAR(it->second.second, score.second, kPromptTolerance);
    ++comparison->num_prompt_logprobs;
  }
  float rounding = 1e-6f;
  const size_t size = std::min(expected.tokens.size(), actual.tokens.size());
  for (size_t k = 0; k < size; ++k) {
    if (expected.tokens[k] != actual.tokens[k]) {
      ++comparison->num_excused;
      std::cout << "    token " << k << " differs, margin " << expected.margins[k]
                << ", rounding so far " << rounding << "\n";
      if (request.sampling.temperature > 0.0f) {
        ASSERT_EQ(key.second, 0) << "what the others draw alone is not known";
        const float change =
            ChangeThatDraws(*outcome.golden, request, expected, k, actual.tokens[k]);
        std::cout << "    drawn when the temperature changes by " << change << " of it\n";
        EXPECT_LE(change, 3e-5f);
        return;
      }
      EXPECT_LT(expected.margins[k], 10 * std::max(rounding, 1e-5f));
      return;
    }
    ++comparison->num_tokens;
    rounding = std::max(rounding, std::abs(expected.logprobs[k] - actual.logprobs[k]));
  }
  comparison->rounding = std::max(comparison->rounding, rounding);
  EXPECT_EQ(expected.tokens.size(), actual.tokens.size());
  EXPECT_EQ(expected.finish.reason, actual.finish.reason);
}

void ExpectSame(const std::string& what, const Answers& expected, const Outcome& outcome) {
  Comparison comparison;
  for (const Answers& answers : outcome.passes) {
    EXPECT_FALSE(answers.empty());
    for (const auto& [key, answer] : answers) {
      SCOPED_TRACE(testing::Message() << what << ", request " << key.first << "." << key.second);
      EXPECT_TRUE(answer.finish.status.ok()) << answer.finish.status;
      Compare(outcome, key, expected.at(key), answer, &comparison);
    }
  }
  std::cout << "  " << what << ": " << comparison.num_requests << " answers, "
            << comparison.num_tokens << " tokens equal, " << comparison.num_prompt_logprobs
            << " log-probabilities of prompts, " << comparison.num_excused
            << " answers excused by rounding (at most " << comparison.rounding << ")\n";
}

// A checkpoint's prompts, and what each request is answered alone. Made once.
struct Baseline {
  explicit Baseline(const std::string& checkpoint)
      : golden(checkpoint), requests(MakeRequests(golden)) {
    expected = RunAll(golden, requests, {}).passes.at(0);
  }
  const GoldenPrompts golden;
  const std::vector<std::shared_ptr<Request>> requests;
  Answers expected;

  static const Baseline& Of(const std::string& checkpoint) {
    static auto* const all = new std::map<std::string, std::unique_ptr<Baseline>>();
    std::unique_ptr<Baseline>& baseline = (*all)[checkpoint];
    if (baseline == nullptr) baseline = std::make_unique<Baseline>(checkpoint);
    return *baseline;
  }
};

class EngineEquivalenceTest : public testing::TestWithParam<const char*> {
 protected:
  EngineEquivalenceTest() { std::cout << GetParam() << ": " << requests_.size() << " requests\n"; }

  // Every `stride`th request, renumbered, and what they are answered alone: `max_tokens` of it.
  std::pair<std::vector<std::shared_ptr<Request>>, Answers> Some(size_t stride,
                                                                 int32_t max_tokens) const {
    std::pair<std::vector<std::shared_ptr<Request>>, Answers> some;
    for (size_t i = 0; i < requests_.size(); i += stride) {
      Answer answer = expected_.at({i, 0});
      if (answer.tokens.size() >= static_cast<size_t>(max_tokens)) {
        answer.tokens.resize(max_tokens);
        answer.finish.reason = FinishReason::kLength;
      }
      some.second[{some.first.size(), 0}] = std::move(answer);
      some.first.push_back(std::make_shared<Request>(*requests_[i]));
      some.first.back()->max_tokens = max_tokens;
    }
    return some;
  }

  const Baseline& baseline_ = Baseline::Of(GetParam());
  const GoldenPrompts& golden_ = baseline_.golden;
  const std::vector<std::shared_ptr<Request>>& requests_ = baseline_.requests;
  const Answers& expected_ = baseline_.expected;
};

TEST_P(EngineEquivalenceTest, BatchedCachedAndPreempted) {
  ExpectSame("batched", expected_, RunAll(golden_, requests_, {.max_num_seqs = 16}));

  const Outcome prefix =
      RunAll(golden_, requests_, {.max_num_seqs = 4, .prefix_caching = true, .num_passes = 2});
  ExpectSame("prefix-cached", expected_, prefix);
  EXPECT_GT(prefix.load.num_prefix_hit_tokens, prefix.load.num_prefix_query_tokens / 3);

  for (const bool experts : {false, true}) {
    const Outcome vision = RunAll(
        golden_, requests_, {.max_num_seqs = 4, .keep_features = true, .keep_experts = experts});
    ExpectSame(experts ? "experts cached" : "features cached", expected_, vision);
    EXPECT_GT(vision.load.num_vision_hits, vision.load.num_vision_queries / 2);
  }

  // Memory for a few prompts, in small blocks: answers that grow soon want more.
  std::vector<int64_t> lengths;
  for (const auto& request : requests_) lengths.push_back(request->num_prompt_tokens());
  std::sort(lengths.begin(), lengths.end());
  const int64_t kv_tokens =
      std::max(lengths.back() + kMaxNewTokens + 2, 6 * lengths[lengths.size() / 2] + 16);
  for (const bool caching : {false, true}) {
    const Outcome preempted = RunAll(golden_,
                                     requests_,
                                     {.max_num_seqs = 16,
                                      .prefix_caching = caching,
                                      .keep_features = true,
                                      .kv_bytes = KvBytesOf(golden_, kv_tokens, 2),
                                      .block_size = 2});
    ExpectSame(caching ? "preempted, prefixes kept" : "preempted", expected_, preempted);
    EXPECT_GT(preempted.load.num_preemptions, 0);
    std::cout << "    " << preempted.load.num_preemptions << " preemptions\n";
  }
}

// Every request in every size. The six requests of a prompt come one after the other: the first has
// it computed in chunks, the others begin with the keys and values that it left (all but the last
// block of them) and the image's features, which is all that the size of a chunk can change; two
// tokens show it, of which the second is decoded. Besides, some are computed cold and answered to
// the end. With PARROT_EQUIVALENCE_ALL set, all are.
TEST_P(EngineEquivalenceTest, ChunkedInEverySize) {
  const bool all = std::getenv("PARROT_EQUIVALENCE_ALL") != nullptr;
  std::vector<int32_t> sizes = {2, 7, 31, 32, 33, 64, 257, 577, 4096};
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) sizes.push_back(static_cast<int32_t>(3 + random() % 600));
  const auto run = [this](int32_t chunk_tokens, size_t stride, bool whole_answers) {
    const auto [requests, expected] =
        Some(stride, whole_answers ? kMaxNewTokens : kTokensAfterChunks);
    ExpectSame(absl::StrCat("chunks of ", chunk_tokens, whole_answers ? "" : ", first tokens"),
               expected,
               RunAll(golden_,
                      requests,
                      {.chunk_tokens = chunk_tokens,
                       .prefix_caching = !whole_answers,
                       .keep_features = !whole_answers,
                       .kv_bytes = KvBytesOf(golden_, 8192, 32)}));
  };
  run(1, requests_.size() / 10, /*whole_answers=*/true);
  for (const int32_t size : sizes) {
    if (!all) run(size, 1, /*whole_answers=*/false);
    run(size, all ? 1 : 25, /*whole_answers=*/true);
  }
}

// The recorded logits of the reference at some positions of each prompt, and its own greedy steps'.
TEST_P(EngineEquivalenceTest, LogprobsOfPromptsAreThoseOfTheReference) {
  int num_compared = 0;
  size_t i = 0;
  for (const GoldenPrompt& prompt : golden_.prompts()) {
    if (prompt.kind == "truncated") continue;
    const Request& request = *requests_[6 * i];
    const Answer& answer = expected_.at({6 * i, 0});
    ++i;
    const auto num_text = std::count_if(request.token_ids.begin() + 1,
                                        request.token_ids.end(),
                                        [](TokenId id) { return id != kVisualToken; });
    EXPECT_EQ(static_cast<int64_t>(answer.prompt_logprobs.size()), num_text);
    if (request.images.size() > 1) continue;  // the reference does not see the later ones
    const std::vector<float> logits = golden_.Tensor(prompt, "logits_at");
    const auto positions = prompt.entry["logits_positions"].get<std::vector<int32_t>>();
    const size_t num_rows = golden_.checkpoint().config().language.vocab_rows;
    for (size_t k = 0; k < positions.size(); ++k) {
      const auto it = answer.prompt_logprobs.find(positions[k] + 1);
      if (it == answer.prompt_logprobs.end()) continue;  // an image token is next, or the answer
      const float* row = logits.data() + k * num_rows;
      double total = 0.0;
      for (int32_t id = 0; id < golden_.vocab_size(); ++id) total += std::exp(double{row[id]});
      EXPECT_EQ(it->second.first, request.token_ids[positions[k] + 1]);
      EXPECT_NEAR(it->second.second, row[it->second.first] - std::log(total), kPromptTolerance)
          << prompt.id << " position " << positions[k];
      ++num_compared;
    }
  }
  EXPECT_GT(num_compared, 10);
  std::cout << "  " << num_compared
            << " log-probabilities of prompts compared with recorded ones\n";
}

// Sample i of n draws with (seed, i): alone, on a cold engine without caches, it is the same.
TEST_P(EngineEquivalenceTest, SamplesOfOneRequest) {
  std::vector<std::shared_ptr<Request>> requests;
  for (size_t i = 2; i < requests_.size(); i += 6) {
    requests.push_back(std::make_shared<Request>(*requests_[i]));
    requests.back()->num_sequences = kNumSamples;
  }
  const Outcome alone = RunAll(golden_, requests, {});
  ExpectSame("n samples",
             alone.passes.at(0),
             RunAll(golden_, requests, {.max_num_seqs = 16, .prefix_caching = true}));
  int num_different = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const Answers& answers = alone.passes[0];
    // Sample 0 is what one request alone gets.
    EXPECT_EQ(answers.at({i, 0}).tokens, expected_.at({2 + 6 * i, 0}).tokens);
    if (answers.at({i, 0}).tokens != answers.at({i, 1}).tokens) ++num_different;
  }
  EXPECT_GT(num_different, 0);
}

INSTANTIATE_TEST_SUITE_P(Golden,
                         EngineEquivalenceTest,
                         testing::ValuesIn(kGoldenCheckpoints),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace parrot
