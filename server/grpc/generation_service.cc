#include "server/grpc/generation_service.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "server/grpc/generate_call.h"
#include "server/grpc/inline_answer.h"
#include "server/grpc/put_image_call.h"
#include "server/grpc/request_conversion.h"
#include "server/grpc/response_conversion.h"
#include "server/grpc/unary_answer_call.h"

namespace parrot {
namespace {

template <typename Request>
std::optional<std::string> ModelOf(const Request& request) {
  return request.has_model() ? std::optional<std::string>(request.model()) : std::nullopt;
}

}  // namespace

GenerationService::GenerationService(const GenerationServiceOptions& options,
                                     const Authenticator* authenticator,
                                     Logger* logger)
    : options_(options),
      environment_{.service = v1::ParrotService::service_full_name(),
                   .authenticator = authenticator,
                   .logger = logger,
                   .wire_limits = options.wire_limits,
                   .log_requests = options.log_requests} {}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Generate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return GenerateCall::Start(
      context, *request, &environment_, frontend_.load(), options_.stall_timeout);
}

grpc::ServerUnaryReactor* GenerationService::GenerateUnary(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request,
                                                           grpc::ByteBuffer* response) {
  return UnaryAnswerCall::Start(UnaryAnswerCall::Method::kGenerateUnary,
                                context,
                                *request,
                                response,
                                &environment_,
                                frontend_.load(),
                                options_.stall_timeout);
}

grpc::ServerUnaryReactor* GenerationService::Route(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  return UnaryAnswerCall::Start(UnaryAnswerCall::Method::kRoute,
                                context,
                                *request,
                                response,
                                &environment_,
                                frontend_.load(),
                                options_.stall_timeout);
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  Frontend* frontend = frontend_.load();
  return AnswerInline<v1::TokenizeRequest, v1::TokenizeResponse>(
      RpcCall(context, "Tokenize", &environment_, frontend),
      context,
      *request,
      response,
      [frontend](const v1::TokenizeRequest& in, v1::TokenizeResponse& out) -> absl::Status {
        ASSIGN_OR_RETURN(TokenizeResult result, frontend->Tokenize(ModelOf(in), in.text()));
        out.set_model(std::move(result.model));
        out.mutable_token_ids()->Add(result.token_ids.begin(), result.token_ids.end());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* GenerationService::CountTokens(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  Frontend* frontend = frontend_.load();
  return AnswerInline<v1::CountTokensRequest, v1::CountTokensResponse>(
      RpcCall(context, "CountTokens", &environment_, frontend),
      context,
      *request,
      response,
      [frontend](v1::CountTokensRequest& in, v1::CountTokensResponse& out) -> absl::Status {
        ASSIGN_OR_RETURN(CountTokensResult result, frontend->CountTokens(SpecFromCountTokens(in)));
        out.set_model(std::move(result.model));
        FillUsage(result.usage, *out.mutable_usage());
        out.set_max_model_len(result.max_model_len);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* GenerationService::PutImage(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return PutImageCall::Start(context, *request, response, &environment_, frontend_.load());
}

grpc::ServerUnaryReactor* GenerationService::HasImage(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  Frontend* frontend = frontend_.load();
  return AnswerInline<v1::HasImageRequest, v1::HasImageResponse>(
      RpcCall(context, "HasImage", &environment_, frontend),
      context,
      *request,
      response,
      [frontend](const Identity& identity,
                 const v1::HasImageRequest& in,
                 v1::HasImageResponse& out) -> absl::Status {
        const std::vector<std::string> digests(in.digests_sha256().begin(),
                                               in.digests_sha256().end());
        ASSIGN_OR_RETURN(Frontend::HasImagesResult result,
                         frontend->HasImages(ModelOf(in), digests, identity));
        out.set_model(std::move(result.model));
        out.mutable_present()->Add(result.present.begin(), result.present.end());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* GenerationService::GetModelInfo(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* request,
                                                          grpc::ByteBuffer* response) {
  Frontend* frontend = frontend_.load();
  return AnswerInline<v1::GetModelInfoRequest, v1::GetModelInfoResponse>(
      RpcCall(context, "GetModelInfo", &environment_, frontend),
      context,
      *request,
      response,
      [frontend](const v1::GetModelInfoRequest& in, v1::GetModelInfoResponse& out) -> absl::Status {
        ASSIGN_OR_RETURN(const ModelInfo info, frontend->GetModelInfo(ModelOf(in)));
        FillModelInfo(info, out);
        return absl::OkStatus();
      });
}

}  // namespace parrot
