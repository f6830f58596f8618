#include "client/parrot_client.h"

#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/call_status.h"
#include "client/channel.h"
#include "client/known_images.h"
#include "grpcpp/channel.h"

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

// The channel's stubs, and what every call needs. Thread-safe.
class ParrotClient::Connection {
 public:
  using GenerateCall = ServerStream<v1::GenerateResponse>;

  explicit Connection(const ClientOptions& options) : Connection(options, MakeChannel(options)) {}

  v1::ParrotService::Stub& parrot() { return *parrot_; }
  grpc::health::v1::Health::Stub& health() { return *health_; }
  KnownImages& images() { return images_; }

  // Of a call that starts now, its second attempt included.
  absl::Time DeadlineOf(const CallOptions& call) const {
    const bool is_own = call.timeout != absl::ZeroDuration();
    return absl::Now() + (is_own ? call.timeout : options_.default_timeout);
  }

  absl::Status CheckSize(int64_t size_bytes) const;
  absl::StatusOr<std::unique_ptr<grpc::ClientContext>> NewContext(const CallOptions& call,
                                                                  absl::Time deadline) const;

  template <typename Request, typename Response, typename Method>
  absl::StatusOr<Response> Call(const Request& request,
                                const CallOptions& call,
                                absl::Time deadline,
                                Method method) const;

  // The same for a request with messages, whose known images are named.
  template <typename Request, typename Response, typename Method>
  absl::StatusOr<Response> CallWithImages(const Request& request,
                                          const CallOptions& call,
                                          Method method);

  // Never null.
  std::unique_ptr<GenerateCall> StartGenerate(const v1::GenerateRequest& request,
                                              const CallOptions& call,
                                              absl::Time deadline);

 private:
  Connection(const ClientOptions& options, const std::shared_ptr<grpc::Channel>& channel)
      : options_(options),
        parrot_(v1::ParrotService::NewStub(channel)),
        health_(grpc::health::v1::Health::NewStub(channel)),
        images_(options.name_known_images) {}

  const ClientOptions options_;
  const std::unique_ptr<v1::ParrotService::Stub> parrot_;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_;
  KnownImages images_;
};

absl::StatusOr<std::unique_ptr<grpc::ClientContext>> ParrotClient::Connection::NewContext(
    const CallOptions& call, absl::Time deadline) const {
  if (call.request_id.size() > kMaxRequestIdBytes || !IsMetadataValue(call.request_id)) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       "request_id: not 1 .. 128 printable ASCII characters",
                       {.reason = "INVALID_REQUEST_ID",
                        .field = "request_id",
                        .limit = absl::StrCat(kMaxRequestIdBytes)});
  }
  auto context = std::make_unique<grpc::ClientContext>();
  if (deadline != absl::InfiniteFuture()) context->set_deadline(absl::ToChronoTime(deadline));
  if (!call.request_id.empty()) context->AddMetadata("x-request-id", call.request_id);
  if (!options_.api_key.empty()) {
    context->AddMetadata("authorization", absl::StrCat("Bearer ", options_.api_key));
  }
  return context;
}

absl::Status ParrotClient::Connection::CheckSize(int64_t size_bytes) const {
  if (size_bytes <= options_.max_send_message_bytes) return absl::OkStatus();
  const std::string value = absl::StrCat(size_bytes);
  const std::string limit = absl::StrCat(options_.max_send_message_bytes);
  return ErrorStatus(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the request has ", value, " bytes, larger than max ", limit, "; not sent"),
      {.reason = "MESSAGE_TOO_LARGE", .value = value, .limit = limit});
}

template <typename Request, typename Response, typename Method>
absl::StatusOr<Response> ParrotClient::Connection::Call(const Request& request,
                                                        const CallOptions& call,
                                                        absl::Time deadline,
                                                        Method method) const {
  RETURN_IF_ERROR(CheckSize(static_cast<int64_t>(request.ByteSizeLong())));
  ASSIGN_OR_RETURN(const std::unique_ptr<grpc::ClientContext> context, NewContext(call, deadline));
  const AttachedCall attached(call.cancellation, *context);
  Response response;
  const grpc::Status status = method(context.get(), request, &response);
  if (!status.ok()) return CallStatus(status, *context);
  return response;
}

template <typename Request, typename Response, typename Method>
absl::StatusOr<Response> ParrotClient::Connection::CallWithImages(const Request& request,
                                                                  const CallOptions& call,
                                                                  Method method) {
  const absl::Time deadline = DeadlineOf(call);
  const ImagePlan plan = images_.Plan(request.messages());
  absl::StatusOr<Response> response = absl::UnknownError("not called");
  if (plan.names_any()) {
    Request named = request;
    KnownImages::Name(plan, named.mutable_messages());
    response = Call<Request, Response>(named, call, deadline, method);
  }
  if (!plan.names_any() || images_.ShouldResend(response.status(), plan)) {
    response = Call<Request, Response>(request, call, deadline, method);
  }
  // Counting looks at no image, so it leaves none behind.
  constexpr bool kKeepsImages = !std::is_same_v<Request, v1::CountTokensRequest>;
  if (kKeepsImages && response.ok()) images_.Remember(plan.digests);
  return response;
}

std::unique_ptr<ParrotClient::Connection::GenerateCall> ParrotClient::Connection::StartGenerate(
    const v1::GenerateRequest& request, const CallOptions& call, absl::Time deadline) {
  const absl::Status size = CheckSize(static_cast<int64_t>(request.ByteSizeLong()));
  if (!size.ok()) return std::make_unique<GenerateCall>(size);
  absl::StatusOr<std::unique_ptr<grpc::ClientContext>> context = NewContext(call, deadline);
  if (!context.ok()) return std::make_unique<GenerateCall>(context.status());
  return std::make_unique<GenerateCall>(
      *std::move(context),
      call.cancellation,
      [&](grpc::ClientContext* ctx, grpc::CompletionQueue* queue) {
        return parrot_->PrepareAsyncGenerate(ctx, request, queue);
      });
}

absl::StatusOr<std::unique_ptr<ParrotClient>> ParrotClient::Create(const ClientOptions& options) {
  RETURN_IF_ERROR(ValidateClientOptions(options));
  return std::unique_ptr<ParrotClient>(new ParrotClient(std::make_shared<Connection>(options)));
}

ParrotClient::ParrotClient(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)) {}

std::unique_ptr<GenerateStream> ParrotClient::Generate(const v1::GenerateRequest& request,
                                                       const CallOptions& call) {
  const int32_t num_outputs = request.has_n() ? request.n() : 1;
  const absl::Time deadline = connection_->DeadlineOf(call);
  const ImagePlan plan = connection_->images().Plan(request.messages());
  GenerateStream::Hooks hooks;
  hooks.on_accepted = [connection = connection_, digests = plan.digests] {
    connection->images().Remember(digests);
  };
  if (!plan.names_any()) {
    return std::make_unique<GenerateStream>(
        connection_->StartGenerate(request, call, deadline), num_outputs, std::move(hooks));
  }
  v1::GenerateRequest named = request;
  KnownImages::Name(plan, named.mutable_messages());
  hooks.on_failed = [connection = connection_, request, call, deadline, plan](
                        const absl::Status& error) -> std::unique_ptr<GenerateStream::Stream> {
    if (!connection->images().ShouldResend(error, plan)) return nullptr;
    return connection->StartGenerate(request, call, deadline);
  };
  return std::make_unique<GenerateStream>(
      connection_->StartGenerate(named, call, deadline), num_outputs, std::move(hooks));
}

absl::StatusOr<ParrotClient::PreparedGenerate> ParrotClient::PrepareGenerate(
    const v1::GenerateRequest& request, grpc::CompletionQueue& queue, const CallOptions& call) {
  RETURN_IF_ERROR(connection_->CheckSize(static_cast<int64_t>(request.ByteSizeLong())));
  PreparedGenerate prepared;
  ASSIGN_OR_RETURN(prepared.context, connection_->NewContext(call, connection_->DeadlineOf(call)));
  prepared.reader =
      connection_->parrot().PrepareAsyncGenerate(prepared.context.get(), request, &queue);
  return prepared;
}

absl::StatusOr<v1::GenerateUnaryResponse> ParrotClient::GenerateUnary(
    const v1::GenerateRequest& request, const CallOptions& call) {
  return connection_->CallWithImages<v1::GenerateRequest, v1::GenerateUnaryResponse>(
      request, call, [this](auto* ctx, const auto& in, auto* out) {
        return connection_->parrot().GenerateUnary(ctx, in, out);
      });
}

absl::StatusOr<v1::RouteResponse> ParrotClient::Route(const v1::RouteRequest& request,
                                                      const CallOptions& call) {
  return connection_->CallWithImages<v1::RouteRequest, v1::RouteResponse>(
      request, call, [this](auto* ctx, const auto& in, auto* out) {
        return connection_->parrot().Route(ctx, in, out);
      });
}

absl::StatusOr<v1::TokenizeResponse> ParrotClient::Tokenize(const v1::TokenizeRequest& request,
                                                            const CallOptions& call) {
  return connection_->Call<v1::TokenizeRequest, v1::TokenizeResponse>(
      request, call, connection_->DeadlineOf(call), [this](auto* ctx, const auto& in, auto* out) {
        return connection_->parrot().Tokenize(ctx, in, out);
      });
}

absl::StatusOr<v1::CountTokensResponse> ParrotClient::CountTokens(
    const v1::CountTokensRequest& request, const CallOptions& call) {
  return connection_->CallWithImages<v1::CountTokensRequest, v1::CountTokensResponse>(
      request, call, [this](auto* ctx, const auto& in, auto* out) {
        return connection_->parrot().CountTokens(ctx, in, out);
      });
}

absl::StatusOr<v1::PutImageResponse> ParrotClient::PutImage(const v1::PutImageRequest& request,
                                                            const CallOptions& call) {
  absl::StatusOr<v1::PutImageResponse> response =
      connection_->Call<v1::PutImageRequest, v1::PutImageResponse>(
          request,
          call,
          connection_->DeadlineOf(call),
          [this](auto* ctx, const auto& in, auto* out) {
            return connection_->parrot().PutImage(ctx, in, out);
          });
  if (response.ok()) connection_->images().Remember({Sha256Of(request.data())});
  return response;
}

absl::StatusOr<v1::HasImageResponse> ParrotClient::HasImage(const v1::HasImageRequest& request,
                                                            const CallOptions& call) {
  return connection_->Call<v1::HasImageRequest, v1::HasImageResponse>(
      request, call, connection_->DeadlineOf(call), [this](auto* ctx, const auto& in, auto* out) {
        return connection_->parrot().HasImage(ctx, in, out);
      });
}

absl::StatusOr<v1::GetModelInfoResponse> ParrotClient::GetModelInfo(
    const v1::GetModelInfoRequest& request, const CallOptions& call) {
  return connection_->Call<v1::GetModelInfoRequest, v1::GetModelInfoResponse>(
      request, call, connection_->DeadlineOf(call), [this](auto* ctx, const auto& in, auto* out) {
        return connection_->parrot().GetModelInfo(ctx, in, out);
      });
}

absl::StatusOr<HealthState::ServingStatus> ParrotClient::CheckHealth(const std::string& service,
                                                                     const CallOptions& call) {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  ASSIGN_OR_RETURN(const HealthState state,
                   (connection_->Call<grpc::health::v1::HealthCheckRequest, HealthState>(
                       request,
                       call,
                       connection_->DeadlineOf(call),
                       [this](auto* ctx, const auto& in, auto* out) {
                         return connection_->health().Check(ctx, in, out);
                       })));
  return state.status();
}

std::unique_ptr<HealthStream> ParrotClient::WatchHealth(const std::string& service,
                                                        WhenUnreachable when_unreachable,
                                                        const CallOptions& call) {
  const bool is_open = call.timeout == absl::ZeroDuration();
  const absl::Time deadline = is_open ? absl::InfiniteFuture() : connection_->DeadlineOf(call);
  absl::StatusOr<std::unique_ptr<grpc::ClientContext>> context =
      connection_->NewContext(call, deadline);
  if (!context.ok()) return std::make_unique<HealthStream>(context.status());
  (*context)->set_wait_for_ready(when_unreachable == WhenUnreachable::kWait);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  return std::make_unique<HealthStream>(
      *std::move(context),
      call.cancellation,
      [&](grpc::ClientContext* ctx, grpc::CompletionQueue* queue) {
        return connection_->health().PrepareAsyncWatch(ctx, request, queue);
      });
}

}  // namespace parrot
