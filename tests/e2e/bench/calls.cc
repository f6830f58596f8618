#include "tests/e2e/bench/calls.h"

#include <memory>
#include <thread>

#include "absl/time/clock.h"
#include "base/check.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

std::multimap<std::string, std::string> ToMap(
    const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  std::multimap<std::string, std::string> result;
  for (const auto& [key, value] : metadata) {
    result.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
  }
  return result;
}

}  // namespace

v1::GenerateRequest TextRequest(const std::string& text, int32_t max_tokens) {
  v1::GenerateRequest request;
  v1::Message* message = request.add_messages();
  message->set_role(v1::ROLE_USER);
  message->add_parts()->set_text(text);
  request.mutable_stop()->set_max_tokens(max_tokens);
  return request;
}

v1::GenerateRequest ImageRequest(const std::string& text, int32_t max_tokens) {
  v1::GenerateRequest request = TextRequest(text, max_tokens);
  request.mutable_messages(0)->add_parts()->mutable_image()->set_data(GoldenImage());
  return request;
}

std::string GoldenImage() { return ReadGoldenFile("images/files/rgb_47x31.png"); }

void WaitUntil(const std::function<bool()>& condition) {
  const absl::Time limit = absl::Now() + absl::Minutes(1);
  while (!condition()) {
    PARROT_CHECK(absl::Now() < limit) << "the server never got there";
    std::this_thread::yield();
  }
}

void SetDeadline(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

Answer Generate(v1::ParrotService::Stub& stub,
                const v1::GenerateRequest& request,
                grpc::ClientContext* context) {
  grpc::ClientContext own;
  if (context == nullptr) {
    SetDeadline(own);
    context = &own;
  }
  Answer answer;
  const std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader =
      stub.Generate(context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    ++answer.num_messages;
    if (response.has_accepted()) answer.accepted = response.accepted();
    if (response.has_finish()) answer.finish = response.finish();
    answer.text += response.delta().text();
    answer.token_ids.insert(answer.token_ids.end(),
                            response.delta().token_ids().begin(),
                            response.delta().token_ids().end());
  }
  answer.status = reader->Finish();
  return answer;
}

Details DetailsOf(const grpc::Status& status) {
  Details details;
  details.status.ParseFromString(status.error_details());
  for (const google::protobuf::Any& any : details.status.details()) {
    google::rpc::ErrorInfo error;
    google::rpc::BadRequest bad_request;
    google::rpc::PreconditionFailure precondition;
    google::rpc::RetryInfo retry;
    google::rpc::ResourceInfo resource;
    google::rpc::RequestInfo request;
    if (any.UnpackTo(&error)) details.error = error;
    if (any.UnpackTo(&bad_request)) details.bad_request = bad_request;
    if (any.UnpackTo(&precondition)) details.precondition = precondition;
    if (any.UnpackTo(&retry)) details.retry = retry;
    if (any.UnpackTo(&resource)) details.resource = resource;
    if (any.UnpackTo(&request)) details.request = request;
  }
  return details;
}

std::multimap<std::string, std::string> Trailers(const grpc::ClientContext& context) {
  return ToMap(context.GetServerTrailingMetadata());
}

std::multimap<std::string, std::string> InitialMetadata(const grpc::ClientContext& context) {
  return ToMap(context.GetServerInitialMetadata());
}

}  // namespace parrot
