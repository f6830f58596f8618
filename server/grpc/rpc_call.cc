#include "server/grpc/rpc_call.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "grpcpp/security/auth_context.h"
#include "grpcpp/support/slice.h"
#include "server/grpc/status_details.h"

namespace parrot {
namespace {

constexpr char kRequestIdHeader[] = "x-request-id";
constexpr size_t kMaxRequestIdBytes = 128;

std::string_view ToStd(const grpc::string_ref& text) { return {text.data(), text.size()}; }

// The first value of a metadata key; empty if absent.
std::string_view Metadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto it = context.client_metadata().find(key);
  return it == context.client_metadata().end() ? std::string_view() : ToStd(it->second);
}

bool IsGoodRequestId(const std::string& id) {
  return !id.empty() && id.size() <= kMaxRequestIdBytes &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) { return absl::ascii_isprint(c); });
}

std::string MintRequestId() {
  absl::BitGen generator;
  return absl::StrFormat(
      "%016x%016x", absl::Uniform<uint64_t>(generator), absl::Uniform<uint64_t>(generator));
}

absl::Status Loading() {
  return ErrorStatus(absl::StatusCode::kUnavailable,
                     "the model is loading",
                     {.reason = "LOADING", .retry_after = absl::Seconds(1)});
}

absl::Status ParseBounded(const grpc::ByteBuffer& bytes,
                          const WireLimits& limits,
                          google::protobuf::Message& request) {
  grpc::Slice slice;
  if (bytes.Length() > 0 && !bytes.TrySingleSlice(&slice).ok() &&
      !bytes.DumpToSingleSlice(&slice).ok()) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       "request is not valid",
                       {.reason = "MALFORMED_REQUEST"});
  }
  const std::string_view text(reinterpret_cast<const char*>(slice.begin()), slice.size());
  RETURN_IF_ERROR(ScanWire(text, *request.GetDescriptor(), limits));
  if (!request.ParseFromArray(text.data(), static_cast<int>(text.size()))) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       "request is not valid",
                       {.reason = "MALFORMED_REQUEST"});
  }
  return absl::OkStatus();
}

}  // namespace

RpcCall::RpcCall(grpc::CallbackServerContext* context,
                 const char* method,
                 const RpcEnvironment* environment,
                 Frontend* frontend)
    : context_(*context),
      method_(method),
      environment_(*environment),
      frontend_(frontend),
      arrival_(absl::Now()) {
  if (context_.client_metadata().count(kRequestIdHeader) > 0) {
    header_request_id_ = std::string(Metadata(context_, kRequestIdHeader));
  }
}

absl::StatusOr<Identity> RpcCall::Open(const grpc::ByteBuffer& bytes,
                                       google::protobuf::Message& request) {
  absl::StatusOr<Identity> identity = Identify();
  absl::Status status = identity.status();
  if (status.ok() && frontend_ == nullptr) status = Loading();
  if (status.ok()) status = Parse(bytes, request);
  if (status.ok()) return identity;
  if (frontend_ != nullptr) frontend_->CountRejected(status);
  return status;
}

absl::Status RpcCall::Parse(const grpc::ByteBuffer& bytes,
                            google::protobuf::Message& request) const {
  return ParseBounded(bytes, environment_.wire_limits, request);
}

absl::StatusOr<Identity> RpcCall::Identify() {
  Identity identity;
  if (environment_.authenticator != nullptr) {
    Credentials credentials;
    credentials.authorization = Metadata(context_, "authorization");
    credentials.tenant_header = Metadata(context_, "x-parrot-tenant");
    const std::shared_ptr<const grpc::AuthContext> peer = context_.auth_context();
    std::string peer_identity;
    if (peer != nullptr && peer->IsPeerAuthenticated()) {
      const std::vector<grpc::string_ref> names = peer->GetPeerIdentity();
      if (!names.empty()) peer_identity = std::string(ToStd(names.front()));
    }
    credentials.peer_identity = peer_identity;
    ASSIGN_OR_RETURN(identity, environment_.authenticator->Authenticate(credentials));
  }
  tenant_ = identity.tenant;
  return identity;
}

absl::Time RpcCall::deadline() const {
  const std::chrono::system_clock::time_point deadline = context_.deadline();
  // gRPC says "none" with its largest time.
  if (deadline >= std::chrono::system_clock::now() + std::chrono::hours(24 * 365)) {
    return absl::InfiniteFuture();
  }
  return absl::FromChrono(deadline);
}

const std::string& RpcCall::request_id() {
  if (request_id_.empty()) {
    request_id_ = header_request_id_.has_value() && IsGoodRequestId(*header_request_id_)
                      ? *header_request_id_
                      : MintRequestId();
  }
  return request_id_;
}

void RpcCall::AddInitialMetadata() { context_.AddInitialMetadata(kRequestIdHeader, request_id()); }

grpc::Status RpcCall::Close(const absl::Status& status) {
  context_.AddTrailingMetadata(kRequestIdHeader, request_id());
  grpc::Status result = grpc::Status::OK;
  if (!status.ok()) {
    result = ToGrpcStatus(status, request_id());
    const std::string pushback = RetryPushbackMs(status);
    if (!pushback.empty()) context_.AddTrailingMetadata("grpc-retry-pushback-ms", pushback);
  }
  if (frontend_ != nullptr) {
    frontend_->metrics().CountRpc(environment_.service, method_, GrpcCodeName(result.error_code()));
  }
  LogEnd(result.error_code(), status);
  return result;
}

void RpcCall::SetFinished(const OutputFinishedEvent& finished) {
  const int32_t earlier = finished_.has_value() ? finished_->usage.completion_tokens : 0;
  finished_ = finished;
  finished_->usage.completion_tokens += earlier;
}

void RpcCall::LogEnd(grpc::StatusCode code, const absl::Status& status) {
  const bool is_failure = code == grpc::StatusCode::INTERNAL;
  if (environment_.logger == nullptr || (!environment_.log_requests && !is_failure)) return;
  std::vector<LogField> fields = {{"method", method_},
                                  {"code", GrpcCodeName(code)},
                                  {"request_id", request_id()},
                                  {"tenant", tenant_},
                                  {"seconds", absl::Now() - arrival_}};
  const std::string reason = GetErrorFacts(status).reason;
  if (!reason.empty()) fields.emplace_back("reason", reason);
  if (finished_.has_value()) {
    fields.emplace_back("finish", FinishReasonName(finished_->reason));
    fields.emplace_back("prompt_tokens", finished_->usage.prompt_tokens());
    fields.emplace_back("image_tokens", finished_->usage.image_tokens);
    fields.emplace_back("completion_tokens", finished_->usage.completion_tokens);
    fields.emplace_back("queue_seconds", finished_->timings.queue);
    fields.emplace_back("first_token_seconds", finished_->timings.time_to_first_token);
  }
  environment_.logger->Log(
      is_failure ? LogLevel::kError : LogLevel::kInfo, "request_finished", fields);
}

grpc::ByteBuffer ToByteBuffer(const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace parrot
