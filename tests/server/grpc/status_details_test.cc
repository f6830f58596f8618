#include "server/grpc/status_details.h"

#include <string>
#include <vector>

#include "base/error_status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

template <typename Detail>
std::vector<Detail> Find(const grpc::Status& status) {
  google::rpc::Status parsed;
  EXPECT_TRUE(parsed.ParseFromString(status.error_details()));
  EXPECT_EQ(parsed.code(), status.error_code());
  EXPECT_EQ(parsed.message(), status.error_message());
  std::vector<Detail> found;
  for (const google::protobuf::Any& any : parsed.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) found.push_back(detail);
  }
  return found;
}

TEST(StatusDetailsTest, ABadFieldIsNamedInErrorInfoAndBadRequest) {
  const absl::Status status = ErrorStatus(
      absl::StatusCode::kInvalidArgument,
      "must be in [0, 2]",
      {.reason = "OUT_OF_RANGE", .field = "sampling.temperature", .value = "3", .limit = "[0, 2]"});
  const grpc::Status result = ToGrpcStatus(status, "id-1");
  EXPECT_EQ(result.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(result.error_message(), "must be in [0, 2]");
  const auto info = Find<google::rpc::ErrorInfo>(result);
  ASSERT_EQ(info.size(), 1u);
  EXPECT_EQ(info[0].reason(), "OUT_OF_RANGE");
  EXPECT_EQ(info[0].domain(), "parrot");
  EXPECT_EQ(info[0].metadata().at("field"), "sampling.temperature");
  EXPECT_EQ(info[0].metadata().at("value"), "3");
  EXPECT_EQ(info[0].metadata().at("limit"), "[0, 2]");
  const auto bad = Find<google::rpc::BadRequest>(result);
  ASSERT_EQ(bad.size(), 1u);
  EXPECT_EQ(bad[0].field_violations(0).field(), "sampling.temperature");
  EXPECT_EQ(Find<google::rpc::RequestInfo>(result)[0].request_id(), "id-1");
  EXPECT_TRUE(Find<google::rpc::RetryInfo>(result).empty());
  EXPECT_EQ(RetryPushbackMs(status), "");
}

TEST(StatusDetailsTest, ARetryTimeTravelsAsRetryInfoAndPushback) {
  const absl::Status status =
      ErrorStatus(absl::StatusCode::kResourceExhausted,
                  "overloaded",
                  {.reason = "QUEUE_FULL", .retry_after = absl::Milliseconds(1250)});
  const auto retry = Find<google::rpc::RetryInfo>(ToGrpcStatus(status, ""));
  ASSERT_EQ(retry.size(), 1u);
  EXPECT_EQ(retry[0].retry_delay().seconds(), 1);
  EXPECT_EQ(retry[0].retry_delay().nanos(), 250'000'000);
  EXPECT_EQ(RetryPushbackMs(status), "1250");
}

TEST(StatusDetailsTest, AMissingModelIsAResource) {
  const absl::Status status =
      ErrorStatus(absl::StatusCode::kNotFound,
                  "model 'x' not served",
                  {.reason = "MODEL_NOT_FOUND", .field = "model", .value = "x"});
  const auto resource = Find<google::rpc::ResourceInfo>(ToGrpcStatus(status, ""));
  ASSERT_EQ(resource.size(), 1u);
  EXPECT_EQ(resource[0].resource_type(), "model");
  EXPECT_EQ(resource[0].resource_name(), "x");
}

TEST(StatusDetailsTest, CodesOutsideTheTableAreInternalAndMessagesAreCut) {
  EXPECT_EQ(ToGrpcStatus(absl::UnknownError("a"), "").error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(ToGrpcStatus(absl::OutOfRangeError("a"), "").error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(ToGrpcStatus(absl::AbortedError("a"), "").error_code(), grpc::StatusCode::ABORTED);
  const std::string text(2000, 'a');
  EXPECT_EQ(ToGrpcStatus(absl::AbortedError(text), "").error_message().size(), 512u);
  EXPECT_EQ(Find<google::rpc::ErrorInfo>(ToGrpcStatus(absl::AbortedError("a"), ""))[0].reason(),
            "ABORTED");
}

}  // namespace
}  // namespace parrot
