#include "client/parrot_client.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/call_status.h"
#include "client/channel.h"

namespace parrot {
namespace {

constexpr size_t kMaxRequestIdBytes = 128;

// Keeps a context attached to the caller's Cancellation while the call is in flight.
class AttachedCall {
 public:
  AttachedCall(Cancellation* cancellation, grpc::ClientContext& context)
      : cancellation_(cancellation), context_(context) {
    if (cancellation_ != nullptr) cancellation_->Attach(context_);
  }
  ~AttachedCall() {
    if (cancellation_ != nullptr) cancellation_->Detach(context_);
  }
  AttachedCall(const AttachedCall&) = delete;
  AttachedCall& operator=(const AttachedCall&) = delete;

 private:
  Cancellation* const cancellation_;
  grpc::ClientContext& context_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ParrotClient>> ParrotClient::Create(const ClientOptions& options) {
  RETURN_IF_ERROR(ValidateClientOptions(options));
  return std::unique_ptr<ParrotClient>(new ParrotClient(options, MakeChannel(options)));
}

ParrotClient::ParrotClient(const ClientOptions& options,
                           const std::shared_ptr<grpc::Channel>& channel)
    : options_(options),
      parrot_(v1::ParrotService::NewStub(channel)),
      health_(grpc::health::v1::Health::NewStub(channel)) {}

absl::StatusOr<std::unique_ptr<grpc::ClientContext>> ParrotClient::NewContext(
    const CallOptions& call, absl::Duration timeout) const {
  if (call.request_id.size() > kMaxRequestIdBytes || !IsMetadataValue(call.request_id)) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       "request_id: not 1 .. 128 printable ASCII characters",
                       {.reason = "INVALID_REQUEST_ID",
                        .field = "request_id",
                        .limit = absl::StrCat(kMaxRequestIdBytes)});
  }
  auto context = std::make_unique<grpc::ClientContext>();
  if (call.timeout != absl::ZeroDuration()) timeout = call.timeout;
  if (timeout != absl::InfiniteDuration()) {
    context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  }
  if (!call.request_id.empty()) context->AddMetadata("x-request-id", call.request_id);
  if (!options_.api_key.empty()) {
    context->AddMetadata("authorization", absl::StrCat("Bearer ", options_.api_key));
  }
  return context;
}

absl::Status ParrotClient::CheckSize(int64_t size_bytes) const {
  if (size_bytes <= options_.max_send_message_bytes) return absl::OkStatus();
  const std::string value = absl::StrCat(size_bytes);
  const std::string limit = absl::StrCat(options_.max_send_message_bytes);
  return ErrorStatus(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the request has ", value, " bytes, larger than max ", limit, "; not sent"),
      {.reason = "MESSAGE_TOO_LARGE", .value = value, .limit = limit});
}

template <typename Request, typename Response, typename Method>
absl::StatusOr<Response> ParrotClient::Call(const Request& request,
                                            const CallOptions& call,
                                            Method method) {
  RETURN_IF_ERROR(CheckSize(static_cast<int64_t>(request.ByteSizeLong())));
  ASSIGN_OR_RETURN(const std::unique_ptr<grpc::ClientContext> context,
                   NewContext(call, options_.default_timeout));
  const AttachedCall attached(call.cancellation, *context);
  Response response;
  const grpc::Status status = method(context.get(), request, &response);
  if (!status.ok()) return CallStatus(status, *context);
  return response;
}

std::unique_ptr<GenerateStream> ParrotClient::Generate(const v1::GenerateRequest& request,
                                                       const CallOptions& call) {
  using Stream = ResponseStream<v1::GenerateResponse>;
  const int32_t num_outputs = request.has_n() ? request.n() : 1;
  const auto failed = [num_outputs](const absl::Status& error) {
    return std::make_unique<GenerateStream>(std::make_unique<Stream>(error), num_outputs);
  };
  const absl::Status size = CheckSize(static_cast<int64_t>(request.ByteSizeLong()));
  if (!size.ok()) return failed(size);
  absl::StatusOr<std::unique_ptr<grpc::ClientContext>> context =
      NewContext(call, options_.default_timeout);
  if (!context.ok()) return failed(context.status());
  auto stream =
      std::make_unique<Stream>(*std::move(context),
                               call.cancellation,
                               [&](grpc::ClientContext* ctx, grpc::CompletionQueue* queue) {
                                 return parrot_->PrepareAsyncGenerate(ctx, request, queue);
                               });
  return std::make_unique<GenerateStream>(std::move(stream), num_outputs);
}

absl::StatusOr<ParrotClient::PreparedGenerate> ParrotClient::PrepareGenerate(
    const v1::GenerateRequest& request, grpc::CompletionQueue& queue, const CallOptions& call) {
  RETURN_IF_ERROR(CheckSize(static_cast<int64_t>(request.ByteSizeLong())));
  PreparedGenerate prepared;
  ASSIGN_OR_RETURN(prepared.context, NewContext(call, options_.default_timeout));
  prepared.reader = parrot_->PrepareAsyncGenerate(prepared.context.get(), request, &queue);
  return prepared;
}

absl::StatusOr<v1::GenerateUnaryResponse> ParrotClient::GenerateUnary(
    const v1::GenerateRequest& request, const CallOptions& call) {
  return Call<v1::GenerateRequest, v1::GenerateUnaryResponse>(
      request, call, [this](auto* ctx, const auto& in, auto* out) {
        return parrot_->GenerateUnary(ctx, in, out);
      });
}

absl::StatusOr<v1::RouteResponse> ParrotClient::Route(const v1::RouteRequest& request,
                                                      const CallOptions& call) {
  return Call<v1::RouteRequest, v1::RouteResponse>(
      request, call, [this](auto* ctx, const auto& in, auto* out) {
        return parrot_->Route(ctx, in, out);
      });
}

absl::StatusOr<v1::TokenizeResponse> ParrotClient::Tokenize(const v1::TokenizeRequest& request,
                                                            const CallOptions& call) {
  return Call<v1::TokenizeRequest, v1::TokenizeResponse>(
      request, call, [this](auto* ctx, const auto& in, auto* out) {
        return parrot_->Tokenize(ctx, in, out);
      });
}

absl::StatusOr<v1::CountTokensResponse> ParrotClient::CountTokens(
    const v1::CountTokensRequest& request, const CallOptions& call) {
  return Call<v1::CountTokensRequest, v1::CountTokensResponse>(
      request, call, [this](auto* ctx, const auto& in, auto* out) {
        return parrot_->CountTokens(ctx, in, out);
      });
}

absl::StatusOr<v1::GetModelInfoResponse> ParrotClient::GetModelInfo(
    const v1::GetModelInfoRequest& request, const CallOptions& call) {
  return Call<v1::GetModelInfoRequest, v1::GetModelInfoResponse>(
      request, call, [this](auto* ctx, const auto& in, auto* out) {
        return parrot_->GetModelInfo(ctx, in, out);
      });
}

absl::StatusOr<HealthState::ServingStatus> ParrotClient::CheckHealth(const std::string& service,
                                                                     const CallOptions& call) {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  ASSIGN_OR_RETURN(const HealthState state,
                   (Call<grpc::health::v1::HealthCheckRequest, HealthState>(
                       request, call, [this](auto* ctx, const auto& in, auto* out) {
                         return health_->Check(ctx, in, out);
                       })));
  return state.status();
}

std::unique_ptr<HealthStream> ParrotClient::WatchHealth(const std::string& service,
                                                        WhenUnreachable when_unreachable,
                                                        const CallOptions& call) {
  absl::StatusOr<std::unique_ptr<grpc::ClientContext>> context =
      NewContext(call, absl::InfiniteDuration());
  if (!context.ok()) return std::make_unique<HealthStream>(context.status());
  (*context)->set_wait_for_ready(when_unreachable == WhenUnreachable::kWait);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  return std::make_unique<HealthStream>(
      *std::move(context),
      call.cancellation,
      [&](grpc::ClientContext* ctx, grpc::CompletionQueue* queue) {
        return health_->PrepareAsyncWatch(ctx, request, queue);
      });
}

}  // namespace parrot
