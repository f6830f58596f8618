#include "base/error_status.h"

#include "gtest/gtest.h"

namespace parrot {
namespace {

const ErrorFacts kFacts = {.reason = "OUT_OF_RANGE",
                           .value = "3",
                           .limit = "[0, 2]",
                           .retry_after = absl::Milliseconds(1200)};

TEST(ErrorStatusTest, CarriesItsFacts) {
  const absl::Status status =
      ErrorStatus(absl::StatusCode::kInvalidArgument, "3 is not in [0, 2]", kFacts);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "3 is not in [0, 2]");
  const ErrorFacts facts = GetErrorFacts(status);
  EXPECT_EQ(facts.reason, "OUT_OF_RANGE");
  EXPECT_EQ(facts.field, "");
  EXPECT_EQ(facts.value, "3");
  EXPECT_EQ(facts.limit, "[0, 2]");
  EXPECT_EQ(facts.retry_after, absl::Milliseconds(1200));
}

TEST(ErrorStatusTest, SubjectsAreKeptInTheirOrder) {
  const absl::Status status = ErrorStatus(
      absl::StatusCode::kFailedPrecondition, "unknown", {.reason = "R", .subjects = {"b", "a"}});
  EXPECT_EQ(GetErrorFacts(status).subjects, (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(GetErrorFacts(WithField(status, "x")).subjects, (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(GetErrorFacts(status).reason, "R");
}

TEST(ErrorStatusTest, AStatusWithoutFactsHasEmptyOnes) {
  const ErrorFacts facts = GetErrorFacts(absl::InternalError("x"));
  EXPECT_EQ(facts.reason, "");
  EXPECT_EQ(facts.retry_after, absl::ZeroDuration());
}

TEST(ErrorStatusTest, WithFieldBuildsThePathFromTheInside) {
  absl::Status status = ErrorStatus(absl::StatusCode::kInvalidArgument, "too large", kFacts);
  status = WithField(status, "image");
  EXPECT_EQ(status.message(), "image: too large");
  status = WithField(status, "parts[1]");
  status = WithField(status, "messages[0]");
  EXPECT_EQ(GetErrorFacts(status).field, "messages[0].parts[1].image");
  EXPECT_EQ(status.message(), "messages[0].parts[1].image: too large");
  EXPECT_EQ(GetErrorFacts(status).limit, "[0, 2]");
}

TEST(ErrorStatusTest, WithFieldJoinsAnIndexWithoutADot) {
  const absl::Status status =
      WithField(WithField(absl::InvalidArgumentError("empty"), "[2]"), "images");
  EXPECT_EQ(GetErrorFacts(status).field, "images[2]");
}

TEST(ErrorStatusTest, WithFieldKeepsOk) { EXPECT_TRUE(WithField(absl::OkStatus(), "x").ok()); }

}  // namespace
}  // namespace parrot
