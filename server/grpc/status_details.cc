#include "server/grpc/status_details.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/error_status.h"
#include "google/protobuf/any.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/error_details.h"

namespace parrot {
namespace {

constexpr char kDomain[] = "parrot";
constexpr size_t kMaxMessageBytes = 512;

grpc::StatusCode CodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
      return grpc::StatusCode::CANCELLED;
    case absl::StatusCode::kInvalidArgument:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case absl::StatusCode::kDeadlineExceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case absl::StatusCode::kNotFound:
      return grpc::StatusCode::NOT_FOUND;
    case absl::StatusCode::kPermissionDenied:
      return grpc::StatusCode::PERMISSION_DENIED;
    case absl::StatusCode::kUnauthenticated:
      return grpc::StatusCode::UNAUTHENTICATED;
    case absl::StatusCode::kResourceExhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case absl::StatusCode::kFailedPrecondition:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case absl::StatusCode::kAborted:
      return grpc::StatusCode::ABORTED;
    case absl::StatusCode::kUnimplemented:
      return grpc::StatusCode::UNIMPLEMENTED;
    case absl::StatusCode::kUnavailable:
      return grpc::StatusCode::UNAVAILABLE;
    default:
      return grpc::StatusCode::INTERNAL;
  }
}

void AddErrorInfo(const ErrorFacts& facts, grpc::StatusCode code, google::rpc::Status& out) {
  google::rpc::ErrorInfo info;
  info.set_reason(facts.reason.empty() ? GrpcCodeName(code) : facts.reason);
  info.set_domain(kDomain);
  if (!facts.field.empty()) (*info.mutable_metadata())["field"] = facts.field;
  if (!facts.value.empty()) (*info.mutable_metadata())["value"] = facts.value;
  if (!facts.limit.empty()) (*info.mutable_metadata())["limit"] = facts.limit;
  out.add_details()->PackFrom(info);
}

void AddSpecificDetails(const ErrorFacts& facts, grpc::StatusCode code, google::rpc::Status& out) {
  if (code == grpc::StatusCode::INVALID_ARGUMENT && !facts.field.empty()) {
    google::rpc::BadRequest bad_request;
    google::rpc::BadRequest::FieldViolation* violation = bad_request.add_field_violations();
    violation->set_field(facts.field);
    violation->set_description(out.message());
    out.add_details()->PackFrom(bad_request);
  }
  if (code == grpc::StatusCode::NOT_FOUND) {
    google::rpc::ResourceInfo resource;
    resource.set_resource_type(facts.field.empty() ? "resource" : facts.field);
    resource.set_resource_name(facts.value);
    resource.set_description(out.message());
    out.add_details()->PackFrom(resource);
  }
  if (!facts.subjects.empty()) {
    google::rpc::PreconditionFailure failure;
    for (const std::string& subject : facts.subjects) {
      google::rpc::PreconditionFailure::Violation* violation = failure.add_violations();
      violation->set_type(facts.reason);
      violation->set_subject(subject);
    }
    out.add_details()->PackFrom(failure);
  }
  if (facts.retry_after > absl::ZeroDuration()) {
    const int64_t ns = absl::ToInt64Nanoseconds(facts.retry_after);
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(ns / 1'000'000'000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(ns % 1'000'000'000));
    out.add_details()->PackFrom(retry);
  }
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status, const std::string& request_id) {
  PARROT_CHECK(!status.ok());
  const ErrorFacts facts = GetErrorFacts(status);
  const grpc::StatusCode code = CodeOf(status);
  google::rpc::Status out;
  out.set_code(code);
  out.set_message(std::string(status.message()).substr(0, kMaxMessageBytes));
  AddErrorInfo(facts, code, out);
  AddSpecificDetails(facts, code, out);
  if (!request_id.empty()) {
    google::rpc::RequestInfo request;
    request.set_request_id(request_id);
    out.add_details()->PackFrom(request);
  }
  grpc::Status result;
  const grpc::Status packed = grpc::SetErrorDetails(out, &result);
  PARROT_CHECK(packed.ok());
  return result;
}

const char* GrpcCodeName(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return "OK";
    case grpc::StatusCode::CANCELLED:
      return "CANCELLED";
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case grpc::StatusCode::NOT_FOUND:
      return "NOT_FOUND";
    case grpc::StatusCode::ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case grpc::StatusCode::PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    case grpc::StatusCode::UNAUTHENTICATED:
      return "UNAUTHENTICATED";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case grpc::StatusCode::ABORTED:
      return "ABORTED";
    case grpc::StatusCode::OUT_OF_RANGE:
      return "OUT_OF_RANGE";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case grpc::StatusCode::INTERNAL:
      return "INTERNAL";
    case grpc::StatusCode::UNAVAILABLE:
      return "UNAVAILABLE";
    case grpc::StatusCode::DATA_LOSS:
      return "DATA_LOSS";
    default:
      return "UNKNOWN";
  }
}

std::string RetryPushbackMs(const absl::Status& status) {
  const ErrorFacts facts = GetErrorFacts(status);
  if (facts.retry_after <= absl::ZeroDuration()) return "";
  return absl::StrCat(absl::ToInt64Milliseconds(facts.retry_after));
}

}  // namespace parrot
