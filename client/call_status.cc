#include "client/call_status.h"

#include <map>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/error_status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace parrot {
namespace {

constexpr char kRequestIdUrl[] = "parrot/request-id";
constexpr char kRequestIdKey[] = "x-request-id";

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

// The value of the first key that is there.
std::string Lookup(const google::protobuf::Map<std::string, std::string>& metadata,
                   std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const auto found = metadata.find(key);
    if (found != metadata.end()) return found->second;
  }
  return "";
}

struct Details {
  ErrorFacts facts;
  std::string request_id;
};

void ReadDetail(const google::protobuf::Any& any, Details* details) {
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  google::rpc::PreconditionFailure failure;
  google::rpc::RetryInfo retry;
  google::rpc::RequestInfo request;
  if (any.Is<google::rpc::ErrorInfo>() && any.UnpackTo(&info)) {
    details->facts.reason = info.reason();
    details->facts.value = Lookup(info.metadata(), {"value", "got"});
    details->facts.limit = Lookup(info.metadata(), {"limit"});
    if (details->facts.field.empty()) details->facts.field = Lookup(info.metadata(), {"field"});
  } else if (any.Is<google::rpc::BadRequest>() && any.UnpackTo(&bad_request)) {
    if (bad_request.field_violations_size() > 0) {
      details->facts.field = bad_request.field_violations(0).field();
    }
  } else if (any.Is<google::rpc::PreconditionFailure>() && any.UnpackTo(&failure)) {
    for (const auto& violation : failure.violations()) {
      details->facts.subjects.push_back(violation.subject());
    }
  } else if (any.Is<google::rpc::RetryInfo>() && any.UnpackTo(&retry)) {
    details->facts.retry_after = absl::Seconds(retry.retry_delay().seconds()) +
                                 absl::Nanoseconds(retry.retry_delay().nanos());
  } else if (any.Is<google::rpc::RequestInfo>() && any.UnpackTo(&request)) {
    details->request_id = request.request_id();
  }
}

Details ReadDetails(const std::string& serialized) {
  Details details;
  google::rpc::Status status;
  // Details that do not parse lose the facts, not the error itself.
  if (serialized.empty() || !status.ParseFromString(serialized)) return details;
  for (const google::protobuf::Any& any : status.details()) ReadDetail(any, &details);
  return details;
}

std::string MetadataValue(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  const auto found = metadata.find(kRequestIdKey);
  if (found == metadata.end()) return "";
  return {found->second.data(), found->second.size()};
}

}  // namespace

absl::Status CallStatus(const grpc::Status& status, const grpc::ClientContext& context) {
  if (status.ok()) return absl::OkStatus();
  Details details = ReadDetails(status.error_details());
  if (details.request_id.empty()) {
    details.request_id = MetadataValue(context.GetServerTrailingMetadata());
  }
  // The numbers of grpc::StatusCode and absl::StatusCode are the same by definition.
  return WithRequestId(ErrorStatus(static_cast<absl::StatusCode>(status.error_code()),
                                   status.error_message(),
                                   details.facts),
                       details.request_id);
}

absl::Status WithRequestId(absl::Status status, std::string_view request_id) {
  if (!status.ok() && !request_id.empty()) {
    status.SetPayload(kRequestIdUrl, absl::Cord(ToAbsl(request_id)));
  }
  return status;
}

std::string GetRequestId(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRequestIdUrl);
  return payload.has_value() ? std::string(*payload) : "";
}

}  // namespace parrot
