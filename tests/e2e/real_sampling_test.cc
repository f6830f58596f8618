// Sampling options through the whole server with a real model: what is drawn is a function of the
// request alone, and every option does what its plain definition says.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "model/text/tokenizer_scripts.h"
#include "model/text/utf8.h"
#include "server/loading/model_loader.h"
#include "server/server.h"
#include "tests/e2e/bench/calls.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

class RealSamplingTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    logger_ = new Logger({.level = LogLevel::kError});
    Options options;
    options.model = GoldenPath("checkpoints/nano-gqa");
    options.http_port = 0;
    options.grpc_port = 0;
    options.admin_address.clear();
    options.device = "cpu";
    options.kv_cache_memory_bytes = int64_t{64} << 20;
    options.max_queue_size = 64;
    options.request_timeout = absl::Minutes(10);
    options.queue_timeout = absl::Minutes(10);
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Listen(options, {.logger = logger_});
    ASSERT_TRUE(server.ok()) << server.status();
    absl::StatusOr<ServedModel> model = LoadServedModel(options, *logger_);
    ASSERT_TRUE(model.ok()) << model.status();
    vocab_size_ = model->config.language.vocab_rows;
    ASSERT_TRUE((*server)->Serve(*std::move(model)).ok());
    server_ = server->release();
  }
  static void TearDownTestSuite() {
    delete server_;
    delete logger_;
  }

  static v1::GenerateUnaryResponse AskAll(const v1::GenerateRequest& request) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel = grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->grpc_port()),
                                                   grpc::InsecureChannelCredentials(),
                                                   arguments);
    const auto stub = v1::ParrotService::NewStub(channel);
    grpc::ClientContext context;
    SetDeadline(context, absl::Minutes(10));
    v1::GenerateUnaryResponse response;
    const grpc::Status status = stub->GenerateUnary(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  static v1::Output Ask(const v1::GenerateRequest& request) {
    const v1::GenerateUnaryResponse response = AskAll(request);
    return response.outputs_size() > 0 ? response.outputs(0) : v1::Output();
  }
  static std::vector<int32_t> Ids(const v1::Output& output) {
    return {output.token_ids().begin(), output.token_ids().end()};
  }
  static v1::GenerateRequest Drawn(const std::string& text, uint64_t seed, int32_t max_tokens) {
    v1::GenerateRequest request = TextRequest(text, max_tokens);
    request.mutable_sampling()->set_temperature(1.0f);
    request.mutable_sampling()->set_seed(seed);
    request.mutable_stop()->set_ignore_eos(true);
    return request;
  }

  static Logger* logger_;
  static Server* server_;
  static int32_t vocab_size_;
};

Logger* RealSamplingTest::logger_ = nullptr;
Server* RealSamplingTest::server_ = nullptr;
int32_t RealSamplingTest::vocab_size_ = 0;

TEST_F(RealSamplingTest, SeededDrawsAreTheSameAloneAndAmongOthers) {
  std::vector<v1::GenerateRequest> requests;
  for (uint64_t i = 0; i < 16; ++i) {
    v1::GenerateRequest request = Drawn(absl::StrCat("question ", i / 2), 100 + i, 24);
    if (i % 4 == 0) *request.mutable_messages() = ImageRequest("what is it?").messages();
    v1::SamplingParams& sampling = *request.mutable_sampling();
    if (i % 3 == 0) sampling.set_top_p(0.9f);
    if (i % 3 == 1) sampling.set_min_p(0.02f);
    if (i % 5 == 2) sampling.set_top_k(40);
    if (i % 2 == 1) sampling.set_repetition_penalty(1.2f);
    if (i % 4 == 3) sampling.set_frequency_penalty(0.5f);
    requests.push_back(std::move(request));
  }
  std::vector<std::vector<int32_t>> alone;
  for (const v1::GenerateRequest& request : requests) alone.push_back(Ids(Ask(request)));
  EXPECT_NE(alone[2], alone[3]);  // the same question with another seed
  std::vector<std::vector<int32_t>> together(requests.size());
  std::vector<std::thread> clients;
  for (size_t i = 0; i < requests.size(); ++i) {
    clients.emplace_back([&, i] { together[i] = Ids(Ask(requests[i])); });
  }
  for (std::thread& client : clients) client.join();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(alone[i].size(), 24u);
    EXPECT_EQ(together[i], alone[i]) << i;
  }
}

TEST_F(RealSamplingTest, AnswerIOfNIsTheAnswerOfTheSeedPlusI) {
  constexpr uint64_t kSeed = 40;
  constexpr int kAnswers = 6;
  for (const bool has_image : {false, true}) {
    v1::GenerateRequest request = Drawn("Tell me more", kSeed, 20);
    if (has_image) *request.mutable_messages() = ImageRequest("what is it?").messages();
    request.set_n(kAnswers);
    const v1::GenerateUnaryResponse all = AskAll(request);
    ASSERT_EQ(all.outputs_size(), kAnswers);
    request.clear_n();
    std::map<std::string, int> texts;
    for (int i = 0; i < kAnswers; ++i) {
      request.mutable_sampling()->set_seed(kSeed + static_cast<uint64_t>(i));
      const v1::Output alone = Ask(request);
      EXPECT_EQ(Ids(all.outputs(i)), Ids(alone)) << i;
      EXPECT_EQ(all.outputs(i).text(), alone.text());
      ++texts[alone.text()];
    }
    EXPECT_EQ(texts.size(), static_cast<size_t>(kAnswers));
  }
}

TEST_F(RealSamplingTest, AStopStringEndsWhereItShould) {
  const v1::GenerateRequest request = Drawn("Tell me more", 3, 40);
  const v1::Output whole = Ask(request);
  const std::vector<int32_t> ids = Ids(whole);
  ASSERT_EQ(ids.size(), 40u);
  const std::string& text = whole.text();
  int num_cases = 0;
  for (size_t begin = text.size() / 4; begin + 6 < text.size() && num_cases < 8; begin += 5) {
    const auto is_border = [&](size_t at) { return (text[at] & 0xC0) != 0x80; };
    if (!is_border(begin) || !is_border(begin + 5)) continue;
    ++num_cases;
    const std::string stop = text.substr(begin, 5);
    const size_t found = text.find(stop);
    for (const bool include : {false, true}) {
      v1::GenerateRequest stopped = request;
      stopped.mutable_stop()->add_stop(stop);
      stopped.mutable_stop()->set_include_stop(include);
      const v1::Output output = Ask(stopped);
      EXPECT_EQ(output.text(), text.substr(0, found + (include ? stop.size() : 0)));
      EXPECT_EQ(output.finish().finish_reason(), v1::FINISH_REASON_STOP);
      EXPECT_EQ(output.finish().stop_text(), stop);
      const std::vector<int32_t> first = Ids(output);
      EXPECT_EQ(output.finish().usage().completion_tokens(), static_cast<int>(first.size()));
      ASSERT_LT(first.size(), ids.size());
      EXPECT_TRUE(std::equal(first.begin(), first.end(), ids.begin()));
    }
  }
  EXPECT_GE(num_cases, 3);
}

TEST_F(RealSamplingTest, ABiasForcesOrBansATokenAndMinTokensHoldsBackTheEnd) {
  v1::GenerateRequest request = TextRequest("hello", 6);
  request.mutable_stop()->set_ignore_eos(true);
  const std::vector<int32_t> plain = Ids(Ask(request));
  (*request.mutable_sampling()->mutable_logit_bias())[321] = 100.0f;
  EXPECT_EQ(Ids(Ask(request)), std::vector<int32_t>(6, 321));
  request.mutable_stop()->add_stop_token_ids(321);
  EXPECT_TRUE(Ids(Ask(request)).empty());
  request.mutable_stop()->set_min_tokens(4);
  const v1::Output late = Ask(request);
  EXPECT_EQ(late.token_ids_size(), 4);
  EXPECT_EQ(std::count(late.token_ids().begin(), late.token_ids().end(), 321), 0);
  EXPECT_EQ(late.finish().stop_token_id(), 321);
  // The first four are what they are without any of it.
  EXPECT_EQ(Ids(late), std::vector<int32_t>(plain.begin(), plain.begin() + 4));

  v1::GenerateRequest banned = TextRequest("hello", 6);
  (*banned.mutable_sampling()->mutable_logit_bias())[plain[0]] = -100.0f;
  const std::vector<int32_t> other = Ids(Ask(banned));
  EXPECT_EQ(std::count(other.begin(), other.end(), plain[0]), 0);
}

// A random model writes letters of all scripts; with a hard lock of one only, alone and among
// others.
TEST_F(RealSamplingTest, ALanguageLockKeepsAnswersToItsScript) {
  constexpr int kTokens = 48;
  const std::vector<std::pair<std::string, Script>> languages = {{"en", Script::kLatin},
                                                                 {"zh", Script::kHan},
                                                                 {"pt", Script::kLatin},
                                                                 {"ar", Script::kArabic},
                                                                 {"tr", Script::kLatin},
                                                                 {"ru", Script::kCyrillic}};
  std::vector<v1::GenerateRequest> requests;
  for (size_t i = 0; i < 3 * languages.size(); ++i) {
    v1::GenerateRequest request = Drawn("Tell me more", 7 + i, kTokens);
    if (i % 3 == 1) request.mutable_sampling()->set_temperature(0.0f);
    if (i % 3 == 2) *request.mutable_messages() = ImageRequest("what is it?").messages();
    request.mutable_sampling()->mutable_language_lock()->set_language(languages[i / 3].first);
    requests.push_back(std::move(request));
  }
  std::vector<v1::Output> alone;
  for (const v1::GenerateRequest& request : requests) alone.push_back(Ask(request));
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& [language, script] = languages[i / 3];
    SCOPED_TRACE(absl::StrCat(language, " ", i % 3, ": ", alone[i].text()));
    std::string text = alone[i].text();
    // A character that max_tokens cut is the one thing that may be broken.
    if (text.ends_with("\xEF\xBF\xBD")) text.resize(text.size() - 3);
    for (size_t position = 0; position < text.size();) {
      const Utf8Step step = DecodeUtf8(text, position);
      ASSERT_EQ(step.kind, Utf8Kind::kValid);
      EXPECT_TRUE(ScriptAllows(script, step.code_point)) << static_cast<uint32_t>(step.code_point);
      EXPECT_NE(step.code_point, 0xFFFDu);
      position += static_cast<size_t>(step.length);
    }
    EXPECT_EQ(alone[i].token_ids_size(), kTokens);
    EXPECT_GT(alone[i].finish().usage().blocked_tokens(), 0);
    v1::GenerateRequest free = requests[i];
    free.mutable_sampling()->clear_language_lock();
    EXPECT_NE(Ids(Ask(free)), Ids(alone[i]));
  }
  std::vector<v1::Output> together(requests.size());
  std::vector<std::thread> clients;
  for (size_t i = 0; i < requests.size(); ++i) {
    clients.emplace_back([&, i] { together[i] = Ask(requests[i]); });
  }
  for (std::thread& client : clients) client.join();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(Ids(together[i]), Ids(alone[i])) << i;
    EXPECT_EQ(together[i].finish().usage().blocked_tokens(),
              alone[i].finish().usage().blocked_tokens());
  }
  // Answers of one request are those of its seeds, locked too.
  v1::GenerateRequest many = requests[3];  // zh
  many.set_n(3);
  const v1::GenerateUnaryResponse answers = AskAll(many);
  ASSERT_EQ(answers.outputs_size(), 3);
  EXPECT_EQ(Ids(answers.outputs(0)), Ids(alone[3]));
}

TEST_F(RealSamplingTest, ASoftLockIsABiasAndAHardOneABan) {
  v1::GenerateRequest request = TextRequest("hello", 24);
  request.mutable_stop()->set_ignore_eos(true);
  const std::vector<int32_t> free = Ids(Ask(request));
  v1::LanguageLock& lock = *request.mutable_sampling()->mutable_language_lock();
  lock.set_language("ru");
  const v1::Output hard = Ask(request);
  lock.set_mode(v1::LOCK_MODE_SOFT);
  lock.set_bias(1e-6f);
  const v1::Output weak = Ask(request);
  EXPECT_EQ(Ids(weak), free);
  EXPECT_GT(weak.finish().usage().blocked_tokens(), 0);
  lock.set_bias(100.0f);
  EXPECT_EQ(Ids(Ask(request)), Ids(hard));  // greedy: as good as a ban
}

TEST_F(RealSamplingTest, LogprobsAreThoseOfADistribution) {
  v1::GenerateRequest request = TextRequest("hello", 12);
  request.mutable_stop()->set_ignore_eos(true);
  request.mutable_output()->set_logprobs(20);
  const v1::Output output = Ask(request);
  ASSERT_EQ(output.logprobs_size(), 12);
  for (int i = 0; i < 12; ++i) {
    const v1::TokenLogprobs& logprobs = output.logprobs(i);
    EXPECT_EQ(logprobs.chosen().token_id(), output.token_ids(i));
    ASSERT_EQ(logprobs.top_size(), 20);
    EXPECT_EQ(logprobs.top(0).token_id(), output.token_ids(i));  // greedy
    EXPECT_EQ(logprobs.top(0).logprob(), logprobs.chosen().logprob());
    double total = 0.0;
    for (int k = 0; k < 20; ++k) {
      total += std::exp(logprobs.top(k).logprob());
      if (k > 0) {
        EXPECT_LE(logprobs.top(k).logprob(), logprobs.top(k - 1).logprob());
      }
      EXPECT_LT(logprobs.top(k).token_id(), vocab_size_);
    }
    EXPECT_LE(total, 1.0 + 1e-5);
    EXPECT_GE(total, 20.0 / vocab_size_);
  }
}

// Biases leave four tokens to choose from, so that they come again and again.
TEST_F(RealSamplingTest, PenaltiesSpreadAnAnswerOverWhatItMayHold) {
  constexpr int kTokens = 32;
  const std::vector<int32_t> allowed = {301, 702, 1103, 1504};
  v1::GenerateRequest request = TextRequest("hello", kTokens);
  request.mutable_stop()->set_ignore_eos(true);
  for (const int32_t token : allowed) {
    (*request.mutable_sampling()->mutable_logit_bias())[token] = 90.0f;
  }
  const auto counts = [&](const v1::GenerateRequest& asked) {
    std::map<int32_t, int> found;
    for (const int32_t id : Ids(Ask(asked))) ++found[id];
    for (const auto& [id, count] : found) {
      EXPECT_TRUE(std::count(allowed.begin(), allowed.end(), id) == 1) << id;
    }
    std::vector<int> sorted;
    for (const int32_t token : allowed) sorted.push_back(found[token]);
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  };
  const std::vector<int> plain = counts(request);
  // The logits of two tokens differ by less than 8 here, so no count may lead by more than 4 + 1.
  v1::GenerateRequest frequency = request;
  frequency.mutable_sampling()->set_frequency_penalty(2.0f);
  const std::vector<int> spread = counts(frequency);
  EXPECT_GT(plain.back() - plain.front(), spread.back() - spread.front());
  EXPECT_LE(spread.back() - spread.front(), 5);
  frequency.mutable_sampling()->set_frequency_penalty(-2.0f);
  EXPECT_EQ(counts(frequency).back(), kTokens);  // whoever is first stays

  // Once all of them are there, presence changes nothing any more; before, it brings each in.
  v1::GenerateRequest presence = request;
  presence.mutable_sampling()->set_presence_penalty(2.0f);
  EXPECT_GE(counts(presence).front(), plain.front());
  presence.mutable_sampling()->set_presence_penalty(-2.0f);
  EXPECT_LE(counts(presence).front(), plain.front());

  // Without the bias a repetition penalty of 10 leaves next to nothing of a logit.
  v1::GenerateRequest repetition = TextRequest("hello", kTokens);
  repetition.mutable_stop()->set_ignore_eos(true);
  repetition.mutable_sampling()->set_repetition_penalty(10.0f);
  const std::vector<int32_t> ids = Ids(Ask(repetition));
  EXPECT_EQ(std::set<int32_t>(ids.begin(), ids.end()).size(), ids.size());
  repetition.mutable_sampling()->set_repetition_penalty(0.05f);
  const std::vector<int32_t> repeated = Ids(Ask(repetition));
  EXPECT_LT(std::set<int32_t>(repeated.begin(), repeated.end()).size(), ids.size() / 2);
}

// A choice of one token: its probability, times that of the end of the turn behind it. Both are
// measured by themselves: by a bias that forces the token, and by a prefix that holds it.
TEST_F(RealSamplingTest, ChoicesHaveTheProbabilitiesThatTheirTokensHave) {
  const std::vector<std::string> texts = {"a", "b", "q", "Z"};
  v1::GenerateRequest request = TextRequest("hello");
  request.clear_stop();
  for (const std::string& text : texts) request.add_choices(text);
  const v1::Output output = Ask(request);
  ASSERT_EQ(output.finish().choices_size(), 4);
  const int32_t end_of_turn = output.finish().stop_token_id();
  const auto logprob_of = [](v1::GenerateRequest asked, int32_t token) {
    (*asked.mutable_sampling()->mutable_logit_bias())[token] = 100.0f;
    asked.mutable_stop()->set_ignore_eos(true);
    asked.mutable_stop()->set_max_tokens(1);
    asked.mutable_output()->set_logprobs(0);
    const v1::Output forced = Ask(asked);
    EXPECT_EQ(forced.token_ids(0), token);
    return forced.logprobs(0).chosen().logprob();
  };
  double total = 0.0;
  int best = 0;
  for (int i = 0; i < 4; ++i) {
    const v1::ChoiceProbability& choice = output.finish().choices(i);
    EXPECT_EQ(choice.text(), texts[i]);
    v1::GenerateRequest alone = TextRequest("hello");
    alone.clear_stop();
    alone.add_choices(texts[i]);
    const v1::Output lone = Ask(alone);
    ASSERT_EQ(lone.token_ids_size(), 1);
    EXPECT_FLOAT_EQ(lone.finish().choices(0).probability(), 1.0f);
    v1::GenerateRequest prefixed = TextRequest("hello");
    prefixed.set_generation_prefix(texts[i]);
    const float expected =
        logprob_of(TextRequest("hello"), lone.token_ids(0)) + logprob_of(prefixed, end_of_turn);
    EXPECT_NEAR(choice.logprob(), expected, 1e-3);
    EXPECT_NEAR(lone.finish().choices(0).logprob(), expected, 1e-3);
    total += choice.probability();
    if (choice.probability() > output.finish().choices(best).probability()) best = i;
  }
  EXPECT_NEAR(total, 1.0, 1e-5);
  EXPECT_EQ(output.text(), texts[best]);
}

}  // namespace
}  // namespace parrot
