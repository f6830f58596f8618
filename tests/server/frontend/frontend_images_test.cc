// Images that are known: named by their digest, sent again, uploaded ahead, forgotten.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontend/frontend.h"
#include "tests/fakes/fake_clock.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/server/frontend/frontend_bench.h"

namespace parrot {
namespace {

using Code = absl::StatusCode;
using testing::ElementsAre;

std::string OtherPng() { return ReadGoldenFile("images/files/rgb_47x31.png"); }

std::string DigestOf(const std::string& image) { return std::string(Sha256Of(image).view()); }

// As ImageRequest, but the images are named; each a message of its own.
GenerateSpec DigestRequest(const std::vector<std::string>& digests) {
  GenerateSpec spec;
  for (const std::string& digest : digests) {
    MessageSpec& message = spec.messages.emplace_back(MessageSpec{.role = RoleSpec::kUser});
    message.parts.emplace_back(ImageSpec{.source = ImageSpec::Source::kDigest, .data = digest});
    message.parts.emplace_back(TextSpec{"What is it?"});
  }
  return spec;
}

// Submits for a tenant, and what the engine gets of it; ends the request then.
std::shared_ptr<const Request> Prepared(FrontendBench& bench,
                                        GenerateSpec spec,
                                        const std::string& tenant = "a") {
  StreamReader reader;
  const int num_added = bench.engine().num_added();
  const RequestKey key =
      bench.frontend().Submit(std::move(spec), {.tenant = tenant}, reader.stream());
  auto request = bench.engine().WaitForRequest(num_added + 1);
  EXPECT_NE(request, nullptr) << reader.status();
  bench.engine().Finish(key, FinishReason::kStop);
  EXPECT_TRUE(reader.WaitForEnd());
  return request;
}

absl::Status Refused(FrontendBench& bench, GenerateSpec spec, const std::string& tenant = "a") {
  StreamReader reader;
  bench.frontend().Submit(std::move(spec), {.tenant = tenant}, reader.stream());
  EXPECT_TRUE(reader.WaitForEnd());
  EXPECT_EQ(bench.frontend().live_requests(), 0);
  EXPECT_EQ(bench.frontend().image_bytes(), 0);
  return reader.status();
}

// What an upload came to. The callback shares it.
struct Outcome {
  absl::Notification done;
  absl::StatusOr<PutImageResult> result = absl::UnknownError("not done");
};

struct Upload {
  Upload(Frontend& frontend, PutImageSpec spec, const std::string& tenant = "a") {
    handle = frontend.PutImage(std::move(spec),
                               {.tenant = tenant},
                               [outcome = outcome](absl::StatusOr<PutImageResult> result) {
                                 outcome->result = std::move(result);
                                 outcome->done.Notify();  // aborts if it comes twice
                               });
  }
  absl::StatusOr<PutImageResult> Wait() {
    if (!outcome->done.WaitForNotificationWithTimeout(absl::Seconds(10))) {
      return absl::UnknownError("no end in time");
    }
    return outcome->result;
  }
  std::shared_ptr<Outcome> outcome = std::make_shared<Outcome>();
  std::shared_ptr<ImageUpload> handle;
};

PutImageSpec UploadOf(const std::string& image) {
  return {.data = image, .arrival = Clock::Real().Now()};
}

std::string Metric(Frontend& frontend, const std::string& series) {
  const std::string text = frontend.metrics().Render();
  const size_t at = text.find("\n" + series + " ");
  if (at == std::string::npos) return "";
  const size_t begin = at + series.size() + 2;
  return text.substr(begin, text.find('\n', begin) - begin);
}

// One preprocess thread, which the first request keeps until `go`.
struct BusyPool {
  BusyPool() : bench(OneThread()) {
    bench.engine().SetAddHook([this](RequestKey) {
      busy.Notify();
      go.WaitForNotification();
    });
    key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
    busy.WaitForNotification();
    bench.engine().SetAddHook(nullptr);
  }
  ~BusyPool() {
    Go();
    bench.engine().Finish(key, FinishReason::kStop);
  }
  void Go() {
    if (!go.HasBeenNotified()) go.Notify();
  }
  static FrontendOptions OneThread() {
    FrontendOptions options = NanoOptions();
    options.capacity.num_preprocess_threads = 1;
    return options;
  }
  absl::Notification busy;
  absl::Notification go;
  FrontendBench bench;
  StreamReader reader;
  RequestKey key = 0;
};

TEST(FrontendImagesTest, ADigestStandsForTheImageThatWasSent) {
  FrontendBench bench;
  const std::string jpeg = SmallJpeg();
  const auto by_bytes = Prepared(bench, ImageRequest(jpeg));
  const auto by_digest = Prepared(bench, DigestRequest({DigestOf(jpeg)}));
  EXPECT_EQ(by_digest->token_ids, by_bytes->token_ids);
  EXPECT_EQ(by_digest->text_ids, by_bytes->text_ids);
  ASSERT_EQ(by_digest->images.size(), 1u);
  EXPECT_EQ(by_digest->images[0].image.hash, by_bytes->images[0].image.hash);
  EXPECT_EQ(by_digest->images[0].image.pixels, by_bytes->images[0].image.pixels);
  EXPECT_EQ(by_digest->images[0].image.size, by_bytes->images[0].image.size);
  EXPECT_EQ(by_digest->images[0].position, by_bytes->images[0].position);

  GenerateSpec weighted = DigestRequest({DigestOf(jpeg)});
  std::get<ImageSpec>(weighted.messages[0].parts[0]).expert_weights = {0, 1, 0, 0, 0, 0};
  EXPECT_EQ(Prepared(bench, std::move(weighted))->images[0].routing, RoutingSource::kWeights);
}

TEST(FrontendImagesTest, BytesThatAreKnownAreNotDecodedAgain) {
  FrontendBench bench;
  const auto first = Prepared(bench, ImageRequest(SmallJpeg()));
  const auto second = Prepared(bench, ImageRequest(SmallJpeg()));
  EXPECT_EQ(second->images[0].image.pixels, first->images[0].image.pixels);
  EXPECT_EQ(Metric(bench.frontend(), "parrot_images_total"), "1");
  EXPECT_EQ(Metric(bench.frontend(), "parrot_image_store_queries_total"), "2");
  EXPECT_EQ(Metric(bench.frontend(), "parrot_image_store_hits_total"), "1");
  EXPECT_EQ(Metric(bench.frontend(), "parrot_image_store_entries"), "1");
  EXPECT_NE(Metric(bench.frontend(), "parrot_image_store_bytes"), "0");
  // What is said of them is judged all the same.
  GenerateSpec wrong = ImageRequest(SmallJpeg());
  std::get<ImageSpec>(wrong.messages[0].parts[0]).mime_type = "image/png";
  EXPECT_EQ(GetErrorFacts(Refused(bench, std::move(wrong))).reason, "IMAGE_MIME_MISMATCH");
}

TEST(FrontendImagesTest, UnknownDigestsAreAllListedBeforeAnyWork) {
  FrontendOptions options = NanoOptions();
  options.limits.max_images = 4;
  FrontendBench bench(options);
  Prepared(bench, ImageRequest(SmallJpeg()));
  const std::string lost = DigestOf("lost");
  const std::string gone = DigestOf("gone");
  const int num_added = bench.engine().num_added();
  const absl::Status status =
      Refused(bench, DigestRequest({DigestOf(SmallJpeg()), lost, gone, lost}));
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  const ErrorFacts facts = GetErrorFacts(status);
  EXPECT_EQ(facts.reason, "IMAGE_NOT_FOUND");
  EXPECT_EQ(facts.field, "messages[1].parts[0].image.digest_sha256");
  EXPECT_EQ(facts.value, Sha256Of("lost").ToHex());
  EXPECT_THAT(facts.subjects, ElementsAre(Sha256Of("lost").ToHex(), Sha256Of("gone").ToHex()));
  EXPECT_EQ(bench.engine().num_added(), num_added);
  EXPECT_EQ(Metric(bench.frontend(), "parrot_rejected_total{reason=\"IMAGE_NOT_FOUND\"}"), "1");
}

TEST(FrontendImagesTest, AnotherTenantsDigestIsUnknown) {
  FrontendBench bench;
  const std::string digest = DigestOf(SmallJpeg());
  Prepared(bench, ImageRequest(SmallJpeg()), "a");
  EXPECT_EQ(Refused(bench, DigestRequest({digest}), "b").code(), Code::kFailedPrecondition);
  EXPECT_THAT(bench.frontend().HasImages({}, {digest}, {.tenant = "a"})->present,
              ElementsAre(true));
  EXPECT_THAT(bench.frontend().HasImages({}, {digest}, {.tenant = "b"})->present,
              ElementsAre(false));
}

TEST(FrontendImagesTest, ARequestKeepsItsImageWhateverBecomesOfTheStore) {
  BusyPool pool;
  Frontend& frontend = pool.bench.frontend();
  Upload upload(frontend, UploadOf(SmallJpeg()));
  pool.Go();
  ASSERT_TRUE(upload.Wait().ok());
  const auto known = Prepared(pool.bench, DigestRequest({DigestOf(SmallJpeg())}));

  absl::Notification busy;
  absl::Notification go;
  pool.bench.engine().SetAddHook([&](RequestKey) {
    if (!busy.HasBeenNotified()) busy.Notify();
    go.WaitForNotification();
  });
  StreamReader first, second;
  const RequestKey first_key = frontend.Submit(TextRequest(), {}, first.stream());
  busy.WaitForNotification();
  const RequestKey second_key =
      frontend.Submit(DigestRequest({DigestOf(SmallJpeg())}), {.tenant = "a"}, second.stream());
  frontend.FlushCache();  // while the second waits for a thread
  EXPECT_EQ(frontend.image_store().num_images, 0);
  go.Notify();
  const auto request = pool.bench.engine().WaitForRequest(4);
  ASSERT_NE(request, nullptr);
  ASSERT_EQ(request->images.size(), 1u);
  EXPECT_EQ(request->images[0].image.pixels, known->images[0].image.pixels);
  pool.bench.engine().Finish(first_key, FinishReason::kStop);
  pool.bench.engine().Finish(second_key, FinishReason::kStop);
  ASSERT_TRUE(second.WaitForEnd());
  EXPECT_TRUE(second.status().ok()) << second.status();
}

TEST(FrontendImagesTest, TokensAreCountedWithoutALookAtImages) {
  FrontendBench bench;
  const auto by_bytes = bench.frontend().CountTokens(ImageRequest("no image"));
  const auto by_digest = bench.frontend().CountTokens(DigestRequest({DigestOf("lost")}));
  ASSERT_TRUE(by_digest.ok()) << by_digest.status();
  EXPECT_EQ(by_digest->usage.prompt_tokens(), by_bytes->usage.prompt_tokens());
}

TEST(FrontendImagesTest, AnUploadIsKeptUnderItsDigest) {
  FrontendBench bench;
  Upload upload(bench.frontend(), UploadOf(SmallJpeg()));
  const auto put = upload.Wait();
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(put->digest, Sha256Of(SmallJpeg()));
  EXPECT_EQ(put->width, 17);
  EXPECT_EQ(put->height, 3);
  EXPECT_EQ(std::string(put->mime_type), "image/jpeg");
  EXPECT_EQ(put->image_tokens, NanoOptions().model.vision.num_tokens());
  EXPECT_EQ(put->model, "parrot");
  EXPECT_FALSE(put->was_known);
  EXPECT_EQ(bench.frontend().image_bytes(), 0);
  EXPECT_TRUE(Upload(bench.frontend(), UploadOf(SmallJpeg())).Wait()->was_known);
  EXPECT_EQ(Prepared(bench, DigestRequest({DigestOf(SmallJpeg())}))->images.size(), 1u);
  EXPECT_EQ(Metric(bench.frontend(), "parrot_images_total"), "1");
}

TEST(FrontendImagesTest, UploadsAreRefusedWithTheField) {
  FrontendBench bench;
  const auto refused = [&bench](PutImageSpec spec) {
    const absl::Status status = Upload(bench.frontend(), std::move(spec)).Wait().status();
    EXPECT_EQ(bench.frontend().image_bytes(), 0);
    const ErrorFacts facts = GetErrorFacts(status);
    return absl::StrCat(
        absl::StatusCodeToString(status.code()), " ", facts.reason, " ", facts.field);
  };
  EXPECT_EQ(refused(UploadOf("no image at all")), "INVALID_ARGUMENT IMAGE_FORMAT data");
  EXPECT_EQ(refused(UploadOf("")), "INVALID_ARGUMENT IMAGE_MISSING data");
  PutImageSpec mistyped = UploadOf(SmallJpeg());
  mistyped.mime_type = "image/webp";
  EXPECT_EQ(refused(std::move(mistyped)), "INVALID_ARGUMENT IMAGE_MIME_MISMATCH data");
  PutImageSpec late = UploadOf(SmallJpeg());
  late.deadline = late.arrival - absl::Seconds(1);
  EXPECT_EQ(refused(std::move(late)), "DEADLINE_EXCEEDED DEADLINE_EXCEEDED ");
  EXPECT_EQ(bench.frontend().image_store().num_images, 0);
  bench.frontend().lifecycle().Set(ServerState::kDraining);
  EXPECT_EQ(refused(UploadOf(SmallJpeg())), "UNAVAILABLE DRAINING ");
}

TEST(FrontendImagesTest, UploadsTakeRoomAndTurnsLikeRequests) {
  FrontendOptions options = BusyPool::OneThread();
  options.capacity.max_preprocess_queue = 1;
  const int64_t side = options.model.vision.image_size;
  options.capacity.max_image_bytes_in_flight = 4 * 3 * side * side;
  FrontendBench bench(options);
  absl::Notification busy;
  absl::Notification go;
  bench.engine().SetAddHook([&](RequestKey) {
    busy.Notify();
    go.WaitForNotification();
  });
  StreamReader reader;
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
  busy.WaitForNotification();
  const auto reason = [](Upload& upload) { return GetErrorFacts(upload.Wait().status()).reason; };
  Upload large(bench.frontend(), UploadOf(std::string(4 * 3 * side * side, 'x')));
  EXPECT_EQ(reason(large), "IMAGE_MEMORY");
  Upload queued(bench.frontend(), UploadOf(SmallJpeg()));
  Upload refused(bench.frontend(), UploadOf(SmallJpeg()));
  EXPECT_EQ(reason(refused), "QUEUE_FULL");
  EXPECT_GT(GetErrorFacts(refused.Wait().status()).retry_after, absl::ZeroDuration());
  go.Notify();
  EXPECT_TRUE(queued.Wait().ok());
  bench.engine().Finish(key, FinishReason::kStop);
}

TEST(FrontendImagesTest, ACancelledUploadGivesItsRoomBackAndKeepsNothing) {
  BusyPool pool;
  Frontend& frontend = pool.bench.frontend();
  Upload upload(frontend, UploadOf(SmallJpeg()));
  EXPECT_GT(frontend.image_bytes(), 0);
  frontend.CancelPutImage(*upload.handle);
  EXPECT_EQ(upload.Wait().status().code(), Code::kCancelled);
  EXPECT_EQ(frontend.image_bytes(), 0);
  EXPECT_EQ(Metric(frontend, "parrot_cancelled_total{stage=\"preprocess_queue\"}"), "1");
  frontend.CancelPutImage(*upload.handle);  // again: nothing
  // A later upload passes the cancelled one's place in the queue.
  Upload next(frontend, UploadOf(OtherPng()));
  pool.Go();
  EXPECT_TRUE(next.Wait().ok());
  EXPECT_THAT(
      frontend.HasImages({}, {DigestOf(SmallJpeg()), DigestOf(OtherPng())}, {.tenant = "a"})
          ->present,
      ElementsAre(false, true));
}

TEST(FrontendImagesTest, AnUploadThatWaitsPastItsDeadlineIsNotDecoded) {
  FakeClock clock;
  FrontendBench bench(BusyPool::OneThread(), &clock);
  absl::Notification busy;
  absl::Notification go;
  bench.engine().SetAddHook([&](RequestKey) {
    busy.Notify();
    go.WaitForNotification();
  });
  StreamReader reader(&clock);
  const RequestKey key = bench.frontend().Submit(TextRequest(), {}, reader.stream());
  busy.WaitForNotification();
  PutImageSpec spec{.data = SmallJpeg(), .arrival = clock.Now()};
  spec.deadline = clock.Now() + absl::Seconds(5);
  Upload upload(bench.frontend(), std::move(spec));
  clock.Advance(absl::Seconds(6));
  go.Notify();
  EXPECT_EQ(upload.Wait().status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(bench.frontend().image_store().num_images, 0);
  bench.engine().Finish(key, FinishReason::kStop);
}

TEST(FrontendImagesTest, WithoutAStoreNothingIsKept) {
  FrontendOptions options = NanoOptions();
  options.capacity.image_store_bytes = 0;
  FrontendBench bench(options);
  Prepared(bench, ImageRequest(SmallJpeg()));
  EXPECT_EQ(Refused(bench, DigestRequest({DigestOf(SmallJpeg())})).code(), Code::kUnimplemented);
  const absl::Status put = Upload(bench.frontend(), UploadOf(SmallJpeg())).Wait().status();
  EXPECT_EQ(put.code(), Code::kUnimplemented);
  EXPECT_EQ(GetErrorFacts(put).reason, "IMAGE_STORE_OFF");
  EXPECT_EQ(bench.frontend().image_store().num_queries, 0);
  EXPECT_THAT(bench.frontend().GetModelInfo({})->unsupported_options,
              testing::Contains("messages.parts.image.digest_sha256"));
}

}  // namespace
}  // namespace parrot
