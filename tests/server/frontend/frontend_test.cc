// The front end on an engine by hand: what requests become, what streams say, what is refused.
#include "server/frontend/frontend.h"

#include <algorithm>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "gtest/gtest.h"
#include "model/text/utf8.h"
#include "nlohmann/json.hpp"
#include "tests/fakes/fake_clock.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/server/frontend/frontend_bench.h"

namespace parrot {
namespace {

using Code = absl::StatusCode;

std::vector<TokenId> Encode(std::string_view text) {
  return NanoModel::Get().tokenizer->Encode(text).value();
}

TEST(FrontendTest, AnswersWithDeltasOneFinishAndOneEnd) {
  FrontendBench bench;
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
  const auto request = bench.engine().WaitForRequest();
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->key, key);
  const std::vector<TokenId> answer = Encode("A green parrot.");
  for (const TokenId token : answer) bench.engine().Token(key, token);
  bench.engine().Finish(key, FinishReason::kStop);
  ASSERT_TRUE(reader.WaitForEnd());

  EXPECT_TRUE(reader.status().ok());
  EXPECT_EQ(reader.text(), "A green parrot.");
  EXPECT_EQ(reader.token_ids(), answer);
  EXPECT_EQ(reader.num_ends(), 1);
  const std::vector<AnswerEvent> events = reader.events();
  const auto& accepted = std::get<AcceptedEvent>(events.front());
  EXPECT_EQ(accepted.model, "parrot");
  EXPECT_EQ(accepted.request_id, reader.stream()->request_id());
  EXPECT_EQ(accepted.usage.prompt_tokens(), request->num_prompt_tokens());
  const OutputFinishedEvent finished = reader.finished();
  EXPECT_EQ(finished.reason, FinishReason::kStop);
  EXPECT_EQ(finished.usage.completion_tokens, static_cast<int32_t>(answer.size()));
  EXPECT_EQ(finished.usage.image_tokens, 0);
  EXPECT_EQ(finished.timings.clip, absl::Milliseconds(4));
  EXPECT_EQ(finished.timings.prefill, absl::Milliseconds(2));
  EXPECT_GT(finished.timings.total, absl::ZeroDuration());
  EXPECT_GT(finished.timings.time_to_first_token, absl::ZeroDuration());
  EXPECT_EQ(bench.frontend().live_requests(), 0);
}

TEST(FrontendTest, RequestCarriesSamplingStopsDeadlineAndTenant) {
  FakeClock clock;
  FrontendOptions options = NanoOptions();
  options.default_seed = 11;
  FrontendBench bench(options, &clock);
  StreamReader reader(&clock);
  GenerateSpec spec = TextRequest();
  spec.sampling.temperature = 0.5f;
  spec.sampling.top_k = 3;
  spec.stop.stop_token_ids = {9, 4};
  spec.stop.max_tokens = 17;
  spec.header_request_id = "client-7";
  const RequestKey key =
      bench.frontend().Submit(std::move(spec), {.tenant = "team-a"}, reader.stream());
  const auto request = bench.engine().WaitForRequest();
  ASSERT_NE(request, nullptr);
  const TokenId eos = options.model.eos_token_id;
  EXPECT_EQ(request->stop_token_ids, (std::vector<TokenId>{4, 9, eos}));
  EXPECT_EQ(request->max_tokens, 17);
  EXPECT_EQ(request->sampling.temperature, 0.5f);
  EXPECT_EQ(request->sampling.top_k, 3);
  EXPECT_EQ(request->sampling.seed, 11u);
  EXPECT_EQ(request->tenant, "team-a");
  EXPECT_EQ(request->request_id, "client-7");
  EXPECT_EQ(reader.stream()->request_id(), "client-7");
  EXPECT_EQ(request->arrival, clock.Now());
  EXPECT_EQ(request->deadline, clock.Now() + absl::Seconds(60));
  bench.engine().Finish(key, FinishReason::kStop);

  // A client may ask for more than the default, not for more than the maximum.
  for (const auto& [asked, given] : {std::pair(absl::Seconds(100), absl::Milliseconds(99950)),
                                     std::pair(absl::Hours(9), absl::Seconds(600))}) {
    StreamReader other(&clock);
    GenerateSpec with_deadline = TextRequest();
    with_deadline.deadline = clock.Now() + asked;
    const int num_added = bench.engine().num_added();
    const RequestKey other_key =
        bench.frontend().Submit(std::move(with_deadline), {}, other.stream());
    const auto other_request = bench.engine().WaitForRequest(num_added + 1);
    ASSERT_NE(other_request, nullptr);
    EXPECT_EQ(other_request->deadline, clock.Now() + given);
    EXPECT_EQ(other_request->max_tokens, std::min(512, 2048 - other_request->num_prompt_tokens()));
    bench.engine().Finish(other_key, FinishReason::kStop);
  }
}

TEST(FrontendTest, StopTokensCannotBeDrawnBeforeMinTokensAndEosNeverEndsAnAnswerThatIgnoresIt) {
  FrontendBench bench;
  const TokenId eos = NanoOptions().model.eos_token_id;
  const struct {
    int32_t min_tokens;
    bool ignore_eos;
    std::vector<TokenId> stops;
    std::vector<TokenId> late;
  } cases[] = {
      {0, false, {4, 9, eos}, {}},
      {0, true, {4, 9}, {}},
      {3, false, {4, 9, eos}, {4, 9, eos}},
      {3, true, {4, 9}, {4, 9}},
  };
  int num_added = 0;
  for (const auto& test : cases) {
    StreamReader reader;
    GenerateSpec spec = TextRequest();
    spec.stop.stop_token_ids = {9, 4, 9};
    spec.stop.min_tokens = test.min_tokens;
    spec.stop.ignore_eos = test.ignore_eos;
    spec.sampling.logit_bias = {{7, -3.0f}};
    const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
    const auto request = bench.engine().WaitForRequest(++num_added);
    ASSERT_NE(request, nullptr);
    EXPECT_EQ(request->stop_token_ids, test.stops);
    EXPECT_EQ(request->ignore_eos, test.ignore_eos);
    EXPECT_EQ(request->min_tokens, test.min_tokens);
    EXPECT_EQ(request->sampling.min_tokens, test.min_tokens);
    EXPECT_EQ(request->sampling.late_token_ids, test.late);
    EXPECT_EQ(request->sampling.logit_bias.size(), 1u);
    bench.engine().Finish(key, FinishReason::kStop);
    ASSERT_TRUE(reader.WaitForEnd());
  }
}

TEST(FrontendTest, MintsDistinctRequestIds) {
  FrontendBench bench;
  std::set<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    StreamReader reader;
    GenerateSpec spec = TextRequest("");
    bench.frontend().Submit(std::move(spec), {}, reader.stream());
    ids.insert(reader.stream()->request_id());
    EXPECT_EQ(reader.stream()->request_id().size(), 25u);
  }
  EXPECT_EQ(ids.size(), 3u);
}

// Every golden prompt of the checkpoint through the API's way: roles, parts, images, prefix.
TEST(FrontendTest, PromptsAreTheGoldenOnes) {
  FrontendOptions options = NanoOptions();
  options.limits.max_images = 2;
  FrontendBench bench(options);
  int num_cases = 0;
  int num_different_by_design = 0;
  for (const nlohmann::json& prompt : ReadJsonLines("prompts.jsonl")) {
    if (prompt["checkpoint"] != "nano-gqa") continue;
    const std::string kind = prompt["kind"];
    // Control tokens in user text: the reference parses them, the API never does.
    const bool differs = kind == "literal_specials" || kind == "literal_endoftext";
    num_different_by_design += differs ? 1 : 0;
    SCOPED_TRACE(prompt["id"].get<std::string>());
    GenerateSpec spec;
    spec.placement = PlacementSpec::kLiteral;
    spec.generation_prefix = prompt["generation_preface"].get<std::string>();
    for (const nlohmann::json& message : prompt["messages"]) {
      MessageSpec& target = spec.messages.emplace_back();
      target.role = message["role"] == "system"      ? RoleSpec::kSystem
                    : message["role"] == "assistant" ? RoleSpec::kAssistant
                                                     : RoleSpec::kUser;
      for (const nlohmann::json& part : message["parts"]) {
        if (part["type"] == "text") {
          target.parts.emplace_back(TextSpec{part["text"].get<std::string>()});
        } else {
          target.parts.emplace_back(
              ImageSpec{.source = ImageSpec::Source::kBytes,
                        .data = ReadGoldenFile(part["image"].get<std::string>())});
        }
      }
    }
    StreamReader reader;
    const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
    const auto request = bench.engine().WaitForRequest(++num_cases);
    ASSERT_NE(request, nullptr) << reader.status();
    bench.engine().Finish(key, FinishReason::kStop);

    // The reference's ids have one placeholder per image.
    std::vector<TokenId> expected;
    size_t image_idx = 0;
    for (const TokenId id : prompt["input_ids"].get<std::vector<TokenId>>()) {
      if (id != kVisualToken) {
        expected.push_back(id);
        continue;
      }
      ASSERT_LT(image_idx, request->images.size());
      EXPECT_EQ(request->images[image_idx].position, static_cast<int32_t>(expected.size()));
      expected.insert(expected.end(), request->images[image_idx].num_tokens, kVisualToken);
      ++image_idx;
    }
    EXPECT_EQ(request->token_ids == expected, !differs);
    EXPECT_EQ(request->images.size(), image_idx);
    std::erase(expected, kVisualToken);
    EXPECT_EQ(request->text_ids == expected, !differs);
    ASSERT_TRUE(reader.WaitForEnd());
  }
  EXPECT_EQ(num_cases, 30);
  EXPECT_EQ(num_different_by_design, 2);
}

TEST(FrontendTest, TextNeverSplitsACodePoint) {
  FrontendBench bench;
  const std::string text = "鸟 عربي дом 👩‍👧 ğ";
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  for (const TokenId token : Encode(text)) bench.engine().Token(key, token);
  bench.engine().Finish(key, FinishReason::kLength);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_EQ(reader.text(), text);
  for (const AnswerEvent& event : reader.events()) {
    if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
      EXPECT_TRUE(ValidateUtf8(delta->piece.text).ok());
    }
  }
}

TEST(FrontendTest, AnUnfinishedCharacterAtTheEndBecomesOneReplacement) {
  FrontendBench bench;
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  std::vector<TokenId> tokens = Encode("👩");
  ASSERT_GT(tokens.size(), 1u);
  tokens.pop_back();
  for (const TokenId token : tokens) bench.engine().Token(key, token);
  bench.engine().Finish(key, FinishReason::kLength);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_EQ(reader.text(), "\xEF\xBF\xBD");
}

TEST(FrontendTest, ImageTravelsAsPixelsAndItsRoutingComesBack) {
  FrontendBench bench;
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(ImageRequest(SmallJpeg()), {}, reader.stream());
  const auto request = bench.engine().WaitForRequest();
  ASSERT_NE(request, nullptr) << reader.status();
  ASSERT_EQ(request->images.size(), 1u);
  const int32_t side = NanoOptions().model.vision.image_size;
  EXPECT_EQ(request->images[0].image.pixels->size(), size_t{3} * side * side);
  EXPECT_EQ(request->images[0].num_tokens, NanoOptions().model.vision.num_tokens());
  EXPECT_EQ(bench.frontend().image_bytes(), 3 * side * side);
  bench.engine().Routing(key, 0, {0.5f, 0.5f, 0, 0, 0, 0});
  bench.engine().Token(key, Encode("x")[0]);
  bench.engine().Finish(key, FinishReason::kStop);
  ASSERT_TRUE(reader.WaitForEnd());
  const OutputFinishedEvent finished = reader.finished();
  ASSERT_EQ(finished.routing.size(), 1u);
  EXPECT_NEAR(finished.routing[0].entropy, 0.6931472, 1e-6);
  EXPECT_EQ(finished.usage.image_tokens, request->num_image_tokens());
  EXPECT_GT(finished.timings.decode_image, absl::ZeroDuration());
  const auto delta = std::get<DeltaEvent>(reader.events()[1]);
  EXPECT_EQ(delta.routing.size(), 1u);
  EXPECT_EQ(bench.frontend().image_bytes(), 0);
}

TEST(FrontendTest, DataUriIsTheSamePictureAndTenantsDoNotShareKeys) {
  FrontendBench bench;
  std::vector<ImageHash> hashes;
  const auto submit = [&](GenerateSpec spec, const std::string& tenant) {
    StreamReader reader;
    const int num_added = bench.engine().num_added();
    const RequestKey key =
        bench.frontend().Submit(std::move(spec), {.tenant = tenant}, reader.stream());
    const auto request = bench.engine().WaitForRequest(num_added + 1);
    ASSERT_NE(request, nullptr) << reader.status();
    hashes.push_back(request->images[0].image.hash);
    bench.engine().Finish(key, FinishReason::kStop);
    ASSERT_TRUE(reader.WaitForEnd());
  };
  GenerateSpec uri = ImageRequest("");
  ImageSpec& image = std::get<ImageSpec>(uri.messages[0].parts[0]);
  image.source = ImageSpec::Source::kDataUri;
  image.data = "data:image/jpeg;base64," + absl::Base64Escape(SmallJpeg());
  submit(ImageRequest(SmallJpeg()), "a");
  submit(std::move(uri), "a");
  submit(ImageRequest(SmallJpeg()), "b");
  ASSERT_EQ(hashes.size(), 3u);
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_NE(hashes[0], hashes[2]);
}

TEST(FrontendTest, RouteYieldsWeightsWithoutText) {
  FrontendBench bench;
  StreamReader reader(nullptr, StreamMode::kWhole);
  GenerateSpec spec = ImageRequest(SmallJpeg());
  spec.kind = RequestKind::kRoute;
  const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
  const auto request = bench.engine().WaitForRequest();
  ASSERT_NE(request, nullptr) << reader.status();
  EXPECT_EQ(request->kind, RequestKind::kRoute);
  EXPECT_EQ(request->max_tokens, 0);
  bench.engine().Routing(key, 0, {1, 0, 0, 0, 0, 0});
  bench.engine().Finish(key, FinishReason::kStop);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_TRUE(reader.status().ok());
  EXPECT_EQ(reader.finished().routing.size(), 1u);
  EXPECT_EQ(reader.events().size(), 3u);
}

// What the processor refuses, the stream refuses alike, with the part's path, and nothing is left.
TEST(FrontendTest, EveryBadImageIsRefusedWithItsPart) {
  FrontendBench bench;
  int num_cases = 0;
  int num_refused = 0;
  for (const nlohmann::json& bad_image : ReadJsonLines("bad_images/bad_images.jsonl")) {
    const std::string file = bad_image["file"];
    SCOPED_TRACE(file);
    ++num_cases;
    const std::string bytes = ReadGoldenFile(file);
    const absl::Status expected =
        NanoModel::Get().image_processor->Preprocess(bytes, "", "").status();
    if (expected.ok()) continue;
    ++num_refused;
    StreamReader reader;
    bench.frontend().Submit(ImageRequest(bytes), {}, reader.stream());
    ASSERT_TRUE(reader.WaitForEnd());
    EXPECT_EQ(reader.events().size(), 1u);
    EXPECT_EQ(reader.status(), WithField(expected, "messages[0].parts[0].image"));
    EXPECT_EQ(reader.status().code(), Code::kInvalidArgument);
    EXPECT_LE(reader.status().message().size(), 512u);
  }
  EXPECT_EQ(num_cases, 31);
  EXPECT_GE(num_refused, 24);
  EXPECT_EQ(bench.engine().num_added(), 0);
  EXPECT_TRUE(bench.frontend().WaitUntilIdle(absl::Seconds(10)));
  EXPECT_EQ(bench.frontend().image_bytes(), 0);
}

TEST(FrontendTest, RefusalsAreBareStatuses) {
  FrontendOptions options = NanoOptions();
  options.limits.max_model_len = 320;  // an image takes 257
  FrontendBench bench(options);
  GenerateSpec mime = ImageRequest(SmallJpeg());
  std::get<ImageSpec>(mime.messages[0].parts[0]).mime_type = "image/png";
  GenerateSpec uri = ImageRequest("data:image/png;base64,QUJ*");
  std::get<ImageSpec>(uri.messages[0].parts[0]).source = ImageSpec::Source::kDataUri;
  GenerateSpec too_many = TextRequest();
  too_many.stop.max_tokens = 319;
  GenerateSpec past = TextRequest();
  past.deadline = absl::Now() - absl::Seconds(1);
  GenerateSpec unsupported = TextRequest();
  unsupported.json_schema = "{}";
  GenerateSpec bad_id = TextRequest();
  bad_id.request_id = "";
  const struct {
    const char* name;
    GenerateSpec spec;
    Code code;
    const char* reason;
    const char* field;
  } cases[] = {
      {"wrong type",
       mime,
       Code::kInvalidArgument,
       "IMAGE_MIME_MISMATCH",
       "messages[0].parts[0].image"},
      {"bad base64",
       uri,
       Code::kInvalidArgument,
       "INVALID_DATA_URI",
       "messages[0].parts[0].image.data_uri"},
      {"long text",
       TextRequest(std::string(5000, 'a')),
       Code::kInvalidArgument,
       "CONTEXT_LENGTH_EXCEEDED",
       "messages"},
      {"image does not fit",
       ImageRequest(SmallJpeg(), std::string(5000, 'a')),
       Code::kInvalidArgument,
       "CONTEXT_LENGTH_EXCEEDED",
       "messages"},
      {"answer does not fit",
       too_many,
       Code::kInvalidArgument,
       "CONTEXT_LENGTH_EXCEEDED",
       "messages"},
      {"deadline past", past, Code::kDeadlineExceeded, "DEADLINE_EXCEEDED", ""},
      {"unsupported", unsupported, Code::kUnimplemented, "UNSUPPORTED_OPTION", "json_schema"},
      {"bad id", bad_id, Code::kInvalidArgument, "INVALID_REQUEST_ID", "request_id"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    StreamReader reader;
    bench.frontend().Submit(test.spec, {}, reader.stream());
    ASSERT_TRUE(reader.WaitForEnd());
    EXPECT_EQ(reader.events().size(), 1u);
    EXPECT_EQ(reader.status().code(), test.code) << reader.status();
    EXPECT_EQ(GetErrorFacts(reader.status()).reason, test.reason) << reader.status();
    EXPECT_EQ(GetErrorFacts(reader.status()).field, test.field) << reader.status();
    EXPECT_FALSE(reader.stream()->request_id().empty());
    EXPECT_NE(bench.frontend().metrics().Render().find(
                  absl::StrCat("parrot_rejected_total{reason=\"", test.reason, "\"}")),
              std::string::npos);
  }
  EXPECT_EQ(bench.engine().num_added(), 0);
  EXPECT_TRUE(bench.frontend().WaitUntilIdle(absl::Seconds(10)));
}

TEST(FrontendTest, EnginesRefusalReachesTheClientAndFreesTheRequest) {
  FrontendBench bench;
  bench.engine().RefuseWith(ErrorStatus(Code::kResourceExhausted,
                                        "queue full",
                                        {.reason = "QUEUE_FULL", .retry_after = absl::Seconds(2)}));
  const absl::Status full = bench.Run(ImageRequest(SmallJpeg()));
  EXPECT_EQ(full.code(), Code::kResourceExhausted);
  EXPECT_EQ(GetErrorFacts(full).retry_after, absl::Seconds(2));
  bench.engine().RefuseWith(ErrorStatus(
      Code::kInvalidArgument, "needs 9 blocks, limit 4", {.reason = "CONTEXT_LENGTH_EXCEEDED"}));
  const absl::Status misfit = bench.Run(TextRequest());
  EXPECT_EQ(misfit.code(), Code::kInvalidArgument);
  EXPECT_EQ(GetErrorFacts(misfit).field, "messages");
  EXPECT_TRUE(bench.frontend().WaitUntilIdle(absl::Seconds(10)));
  EXPECT_EQ(bench.frontend().image_bytes(), 0);
}

TEST(FrontendTest, RunningOutOfMemoryCostsOneRequest) {
  FrontendBench bench;
  bench.engine().SetAddHook([](RequestKey) { throw std::bad_alloc(); });
  const absl::Status status = bench.Run(ImageRequest(SmallJpeg()));
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_EQ(GetErrorFacts(status).reason, "OUT_OF_MEMORY");
  bench.engine().SetAddHook(nullptr);
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().Finish(key, FinishReason::kStop);
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_TRUE(reader.status().ok());
}

TEST(FrontendTest, EngineErrorsAreToldWithoutTheirText) {
  FrontendBench bench;
  StreamReader reader;
  GenerateSpec spec = TextRequest();
  spec.request_id = "id-1";
  const RequestKey key = bench.frontend().Submit(std::move(spec), {}, reader.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().Finish(
      key, FinishReason::kError, absl::InternalError("at::native 0x7fff /usr/lib"));
  ASSERT_TRUE(reader.WaitForEnd());
  EXPECT_EQ(reader.status().message(), "inference failed, id=id-1");
  EXPECT_NE(bench.frontend().metrics().Render().find(
                "parrot_rejected_total{reason=\"INFERENCE_FAILED\"} 1"),
            std::string::npos);
  EXPECT_EQ(reader.events().size(), 1u);
}

TEST(FrontendTest, EndingsByTheEngineAreBareBeforeOutputAndFinishedAfter) {
  const struct {
    FinishReason reason;
    absl::Status status;
    Code code;
  } cases[] = {
      {FinishReason::kDeadline, absl::OkStatus(), Code::kDeadlineExceeded},
      {FinishReason::kCancelled, absl::OkStatus(), Code::kCancelled},
      {FinishReason::kError,
       absl::ResourceExhaustedError("out of blocks"),
       Code::kResourceExhausted},
      {FinishReason::kError, absl::UnavailableError("worker died"), Code::kUnavailable},
  };
  FrontendBench bench;
  int num_added = 0;
  for (const auto& test : cases) {
    for (const bool with_output : {false, true}) {
      StreamReader reader;
      const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
      ASSERT_NE(bench.engine().WaitForRequest(++num_added), nullptr);
      if (with_output) bench.engine().Token(key, Encode("a")[0]);
      bench.engine().Finish(key, test.reason, test.status);
      ASSERT_TRUE(reader.WaitForEnd());
      // What was sent before the deadline is a valid answer.
      const bool is_partial = with_output && test.reason == FinishReason::kDeadline;
      EXPECT_EQ(reader.status().code(), is_partial ? Code::kOk : test.code);
      EXPECT_EQ(reader.num_finished(), with_output ? 1 : 0);
      if (with_output) {
        EXPECT_EQ(reader.finished().reason, test.reason);
        EXPECT_EQ(reader.finished().usage.completion_tokens, 1);
      }
    }
  }
}

TEST(FrontendTest, RefusesWhenItsQueueIsFullAndRecovers) {
  FrontendOptions options = NanoOptions();
  options.capacity.num_preprocess_threads = 1;
  options.capacity.max_preprocess_queue = 1;
  FrontendBench bench(options);
  absl::Notification busy;
  absl::Notification go;
  bench.engine().SetAddHook([&](RequestKey) {
    if (busy.HasBeenNotified()) return;
    busy.Notify();
    go.WaitForNotification();
  });
  StreamReader running, queued, refused;
  bench.frontend().Submit(TextRequest(), {}, running.stream());
  busy.WaitForNotification();
  bench.frontend().Submit(TextRequest(), {}, queued.stream());
  bench.frontend().Submit(TextRequest(), {}, refused.stream());
  ASSERT_TRUE(refused.WaitForEnd());
  EXPECT_EQ(refused.status().code(), Code::kResourceExhausted);
  EXPECT_GT(GetErrorFacts(refused.status()).retry_after, absl::ZeroDuration());
  EXPECT_EQ(bench.frontend().live_requests(), 2);
  go.Notify();
  ASSERT_NE(bench.engine().WaitForRequest(2), nullptr);
}

TEST(FrontendTest, RefusesImagesBeyondItsMemory) {
  FrontendOptions options = NanoOptions();
  options.capacity.max_image_bytes_in_flight = 1000;
  FrontendBench bench(options);
  const absl::Status status = bench.Run(ImageRequest(SmallJpeg()));
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_EQ(GetErrorFacts(status).reason, "IMAGE_MEMORY");
}

TEST(FrontendTest, ASlowReaderIsAbortedAndItsSequenceCancelled) {
  FakeClock clock;
  FrontendBench bench(NanoOptions(), &clock);
  std::vector<ReadyReason> reasons;
  absl::Mutex mutex;
  auto stream = std::make_shared<ResponseStream>(ResponseStreamOptions{.clock = &clock},
                                                 [&](ReadyReason reason) {
                                                   absl::MutexLock lock(&mutex);
                                                   reasons.push_back(reason);
                                                 });
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, stream);
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  bench.engine().Token(key, Encode("a")[0]);
  {
    absl::MutexLock lock(&mutex);
    const auto told = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !reasons.empty(); };
    mutex.Await(absl::Condition(&told));
  }
  clock.Advance(absl::Seconds(9));
  bench.frontend().CheckTimers();
  EXPECT_TRUE(bench.engine().cancels().empty());
  clock.Advance(absl::Seconds(1));
  bench.frontend().CheckTimers();
  EXPECT_EQ(bench.engine().cancels(), (std::vector<RequestKey>{key}));
  EXPECT_TRUE(bench.frontend().WaitUntilIdle(absl::Seconds(10)));
  const std::optional<AnswerEvent> end = stream->Take();
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(std::get<EndEvent>(*end).status.code(), Code::kAborted);
  absl::MutexLock lock(&mutex);
  EXPECT_EQ(reasons, (std::vector<ReadyReason>{ReadyReason::kEvent, ReadyReason::kAborted}));
}

TEST(FrontendTest, DeadlinesHoldInEveryStageEvenIfTheEngineHangs) {
  FakeClock clock;
  FrontendOptions options = NanoOptions();
  options.capacity.num_preprocess_threads = 1;
  FrontendBench bench(options, &clock);
  absl::Notification busy;
  absl::Notification go;
  bench.engine().SetAnswerCancels(false);
  bench.engine().SetAddHook([&](RequestKey) {
    if (busy.HasBeenNotified()) return;
    busy.Notify();
    go.WaitForNotification();
  });
  StreamReader in_engine(&clock), queued(&clock);
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, in_engine.stream());
  busy.WaitForNotification();
  bench.frontend().Submit(TextRequest(), {}, queued.stream());
  clock.Advance(absl::Seconds(60));
  bench.frontend().CheckTimers();
  ASSERT_TRUE(queued.WaitForEnd());
  EXPECT_EQ(queued.status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(in_engine.num_ends(), 0);  // the engine's to end, within its grace
  clock.Advance(absl::Seconds(1));
  bench.frontend().CheckTimers();
  ASSERT_TRUE(in_engine.WaitForEnd());
  EXPECT_EQ(in_engine.status().code(), Code::kDeadlineExceeded);
  go.Notify();
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  EXPECT_EQ(bench.frontend().live_requests(), 1);  // until the engine gives it back
  bench.engine().Finish(key, FinishReason::kDeadline);
  EXPECT_TRUE(bench.frontend().WaitUntilIdle(absl::Seconds(10)));
  EXPECT_EQ(in_engine.num_ends(), 1);
}

TEST(FrontendTest, DrainFinishesWhatRunsAndRefusesTheRest) {
  FrontendBench bench;
  StreamReader running;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, running.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  absl::Notification draining;
  bench.frontend().lifecycle().AddListener([&](ServerState state) {
    if (state == ServerState::kDraining) draining.Notify();
  });
  bool drained = false;
  std::thread drainer([&] { drained = bench.frontend().Drain(absl::Seconds(30)); });
  draining.WaitForNotification();
  const absl::Status refused = bench.Run(TextRequest());
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_GT(GetErrorFacts(refused).retry_after, absl::ZeroDuration());
  bench.engine().Token(key, Encode("a")[0]);
  bench.engine().Finish(key, FinishReason::kStop);
  drainer.join();
  EXPECT_TRUE(drained);
  ASSERT_TRUE(running.WaitForEnd());
  EXPECT_TRUE(running.status().ok());
}

TEST(FrontendTest, DrainEndsWhatIsLeftAtItsTimeout) {
  FrontendBench bench;
  StreamReader running;
  bench.frontend().Submit(TextRequest(), {}, running.stream());
  ASSERT_NE(bench.engine().WaitForRequest(), nullptr);
  EXPECT_FALSE(bench.frontend().Drain(absl::Milliseconds(10)));
  ASSERT_TRUE(running.WaitForEnd());
  EXPECT_EQ(running.status().code(), Code::kUnavailable);
  EXPECT_EQ(bench.frontend().live_requests(), 0);
}

TEST(FrontendTest, WarmUpRunsAPictureBeforeTheServerIsReady) {
  const NanoModel& model = NanoModel::Get();
  Frontend frontend(NanoOptions(),
                    {model.tokenizer.get(), model.chat_template.get(), model.image_processor.get()},
                    &Clock::Real());
  ScriptedEngine engine(frontend.event_sink());
  frontend.Start(engine.client());
  {
    StreamReader early;
    frontend.Submit(TextRequest(), {}, early.stream());
    ASSERT_TRUE(early.WaitForEnd());
    EXPECT_EQ(early.status().code(), Code::kUnavailable);
    EXPECT_EQ(GetErrorFacts(early.status()).reason, "LOADING");
  }
  std::thread worker([&] {
    const auto request = engine.WaitForRequest();
    if (request == nullptr) return;
    EXPECT_EQ(request->images.size(), 1u);
    EXPECT_EQ(request->max_tokens, 2);
    engine.Token(request->key, 5);
    engine.Finish(request->key, FinishReason::kLength);
  });
  EXPECT_TRUE(frontend.WarmUp(absl::Seconds(10)).ok());
  worker.join();
  EXPECT_EQ(frontend.WarmUp(absl::Milliseconds(20)).code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(frontend.WaitUntilIdle(absl::Seconds(10)));
  frontend.Stop();  // before its engine goes
}

TEST(FrontendTest, ADeadEngineFailsTheServer) {
  FrontendBench bench;
  EngineLoad load;
  load.health = absl::UnavailableError("device lost");
  bench.engine().SetLoad(load);
  bench.engine().RefuseWith(absl::UnavailableError("device lost"));
  EXPECT_EQ(bench.Run(TextRequest()).code(), Code::kUnavailable);
  EXPECT_EQ(bench.frontend().lifecycle().state(), ServerState::kFailed);
  EXPECT_EQ(bench.Run(TextRequest()).code(), Code::kUnavailable);
}

TEST(FrontendTest, TokenizesCountsAndDescribesItself) {
  FrontendBench bench;
  const Frontend& frontend = bench.frontend();
  const auto tokens = frontend.Tokenize(std::nullopt, "Hello <|im_start|>");
  ASSERT_TRUE(tokens.ok());
  EXPECT_EQ(tokens->token_ids, Encode("Hello <|im_start|>"));
  EXPECT_EQ(tokens->model, "parrot");
  EXPECT_EQ(frontend.Tokenize("nope", "x").status().code(), Code::kNotFound);
  EXPECT_EQ(GetErrorFacts(frontend.Tokenize(std::nullopt, "\xff").status()).field, "text");

  // Counting looks at no picture and at no limit of the context.
  const auto counted = frontend.CountTokens(ImageRequest("not an image", "Hi"));
  ASSERT_TRUE(counted.ok()) << counted.status();
  EXPECT_EQ(counted->usage.image_tokens, NanoOptions().model.vision.num_tokens());
  EXPECT_GT(counted->usage.text_tokens, 10);
  EXPECT_EQ(counted->max_model_len, 2048);
  EXPECT_GT(frontend.CountTokens(TextRequest(std::string(20000, 'a')))->usage.text_tokens, 2048);
  EXPECT_FALSE(frontend.CountTokens(GenerateSpec{}).ok());

  const auto info = frontend.GetModelInfo("parrot-nano");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->model, "parrot-nano");
  EXPECT_EQ(info->served_names.size(), 2u);
  EXPECT_EQ(info->num_experts, 6);
  EXPECT_EQ(info->vocab_size, NanoModel::Get().tokenizer->num_tokens());
  EXPECT_EQ(info->languages.size(), 6u);
  EXPECT_EQ(frontend.GetModelInfo("nope").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace parrot
