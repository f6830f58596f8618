#include "fake_parrot_server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"

namespace parrot {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

// Writes a script's events one after another; deletes itself when the call is over.
class ScriptReactor : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  ScriptReactor(FakeParrotServer& server, GenerateScript script)
      : server_(server), script_(std::move(script)) {
    Step();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return FinishOnce(grpc::Status::CANCELLED);
    Step();
  }
  void OnCancel() override {
    server_.OnCancelled();
    FinishOnce(grpc::Status::CANCELLED);
  }
  void OnDone() override { delete this; }

 private:
  void Step() {
    if (next_ < script_.events.size()) {
      StartWrite(&script_.events[next_++]);
    } else if (!script_.hang) {
      FinishOnce(script_.status);
    }
  }
  void FinishOnce(const grpc::Status& status) {
    {
      absl::MutexLock lock(&mutex_);
      if (std::exchange(finished_, true)) return;
    }
    Finish(status);
  }

  FakeParrotServer& server_;
  GenerateScript script_;
  size_t next_ = 0;
  absl::Mutex mutex_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

v1::Usage AnswerUsage(int num_completion_tokens) {
  v1::Usage usage;
  usage.set_prompt_tokens(600);
  usage.set_text_tokens(23);
  usage.set_image_tokens(577);
  usage.set_completion_tokens(num_completion_tokens);
  return usage;
}

v1::Finish AnswerFinish(int num_completion_tokens) {
  v1::Finish finish;
  finish.set_finish_reason(v1::FINISH_REASON_STOP);
  finish.set_stop_token_id(2002);
  *finish.mutable_usage() = AnswerUsage(num_completion_tokens);
  finish.mutable_timings()->set_clip(0.125);
  finish.mutable_timings()->set_decode(0.5);
  finish.mutable_timings()->set_time_to_first_token(0.25);
  finish.mutable_timings()->set_total(0.75);
  *finish.add_routing() = SixExperts(0);
  return finish;
}

}  // namespace

v1::ImageRouting SixExperts(int32_t image_index) {
  v1::ImageRouting routing;
  routing.set_image_index(image_index);
  for (const float weight : {0.1f, 0.2f, 0.3f, 0.25f, 0.1f, 0.05f}) {
    routing.add_expert_weights(weight);
  }
  routing.set_entropy(1.64f);
  routing.set_cache_level(v1::CACHE_LEVEL_NONE);
  return routing;
}

v1::GenerateResponse DeltaEvent(const std::string& text, int32_t token_id) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->add_token_ids(token_id);
  return event;
}

std::vector<v1::GenerateResponse> AnswerEvents(const std::vector<std::string>& texts) {
  std::vector<v1::GenerateResponse> events(1);
  events[0].mutable_accepted()->set_request_id("req-1");
  events[0].mutable_accepted()->set_model("nano");
  *events[0].mutable_accepted()->mutable_usage() = AnswerUsage(0);
  int32_t token_id = 100;
  for (const std::string& text : texts) events.push_back(DeltaEvent(text, token_id++));
  events.emplace_back();
  *events.back().mutable_finish() = AnswerFinish(static_cast<int>(texts.size()));
  return events;
}

grpc::Status DetailedStatus(grpc::StatusCode code,
                            const std::string& message,
                            const ErrorFacts& facts,
                            const std::string& request_id) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  google::rpc::ErrorInfo info;
  info.set_reason(facts.reason);
  info.set_domain("parrot");
  if (!facts.value.empty()) (*info.mutable_metadata())["value"] = facts.value;
  if (!facts.limit.empty()) (*info.mutable_metadata())["limit"] = facts.limit;
  if (!facts.field.empty()) (*info.mutable_metadata())["field"] = facts.field;
  status.add_details()->PackFrom(info);
  if (!facts.subjects.empty()) {
    google::rpc::PreconditionFailure failure;
    for (const std::string& subject : facts.subjects) {
      failure.add_violations()->set_subject(subject);
    }
    status.add_details()->PackFrom(failure);
  }
  if (code == grpc::StatusCode::INVALID_ARGUMENT && !facts.field.empty()) {
    google::rpc::BadRequest bad;
    bad.add_field_violations()->set_field(facts.field);
    status.add_details()->PackFrom(bad);
  }
  if (facts.retry_after > absl::ZeroDuration()) {
    google::rpc::RetryInfo retry;
    const int64_t nanos = absl::ToInt64Nanoseconds(facts.retry_after);
    retry.mutable_retry_delay()->set_seconds(nanos / 1'000'000'000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
    status.add_details()->PackFrom(retry);
  }
  if (!request_id.empty()) {
    google::rpc::RequestInfo request;
    request.set_request_id(request_id);
    status.add_details()->PackFrom(request);
  }
  return {code, message, status.SerializeAsString()};
}

FakeParrotServer::FakeParrotServer(std::shared_ptr<grpc::ServerCredentials> credentials, int port)
    : scripts_({{.events = AnswerEvents({"A ", "blue ", "bird."})}}) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(64 << 20);
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), std::move(credentials), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  PARROT_CHECK(server_ != nullptr && port_ != 0);
}

FakeParrotServer::~FakeParrotServer() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

std::string FakeParrotServer::target() const { return absl::StrCat("127.0.0.1:", port_); }

void FakeParrotServer::SetScripts(std::vector<GenerateScript> scripts) {
  absl::MutexLock lock(&mutex_);
  scripts_.assign(scripts.begin(), scripts.end());
}

void FakeParrotServer::FailUnaryCalls(std::vector<grpc::Status> statuses) {
  absl::MutexLock lock(&mutex_);
  unary_failures_.assign(statuses.begin(), statuses.end());
}

void FakeParrotServer::SetServing(const std::string& service, bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(service, serving);
}

std::vector<FakeParrotServer::Seen> FakeParrotServer::seen() const {
  absl::MutexLock lock(&mutex_);
  return seen_;
}

int FakeParrotServer::num_cancelled() const {
  absl::MutexLock lock(&mutex_);
  return num_cancelled_;
}

bool FakeParrotServer::WaitForCalls(size_t num_calls) const {
  const auto enough = [this, num_calls]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return seen_.size() >= num_calls;
  };
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
}

bool FakeParrotServer::WaitForCancelled(int num_cancelled) const {
  const auto enough = [this, num_cancelled]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return num_cancelled_ >= num_cancelled;
  };
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
}

void FakeParrotServer::OnCancelled() {
  absl::MutexLock lock(&mutex_);
  ++num_cancelled_;
}

void FakeParrotServer::Record(grpc::CallbackServerContext* context, v1::GenerateRequest request) {
  Seen seen{.request = std::move(request)};
  for (const auto& [key, value] : context->client_metadata()) {
    seen.metadata.emplace(std::string(key.data(), key.size()),
                          std::string(value.data(), value.size()));
  }
  if (context->deadline() != std::chrono::system_clock::time_point::max()) {
    seen.time_left = absl::FromChrono(context->deadline()) - absl::Now();
  }
  absl::MutexLock lock(&mutex_);
  seen_.push_back(std::move(seen));
}

GenerateScript FakeParrotServer::NextScript() {
  absl::MutexLock lock(&mutex_);
  GenerateScript script = scripts_.front();
  if (scripts_.size() > 1) scripts_.pop_front();
  return script;
}

grpc::ServerUnaryReactor* FakeParrotServer::FinishUnary(grpc::CallbackServerContext* context) {
  grpc::Status status;
  {
    absl::MutexLock lock(&mutex_);
    if (!unary_failures_.empty()) {
      status = unary_failures_.front();
      unary_failures_.pop_front();
    }
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

grpc::ServerWriteReactor<v1::GenerateResponse>* FakeParrotServer::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  Record(context, *request);
  return new ScriptReactor(*this, NextScript());
}

grpc::ServerUnaryReactor* FakeParrotServer::GenerateUnary(grpc::CallbackServerContext* context,
                                                          const v1::GenerateRequest* request,
                                                          v1::GenerateUnaryResponse* response) {
  Record(context, *request);
  response->set_request_id("req-2");
  response->set_model("nano");
  v1::Output* output = response->add_outputs();
  output->set_text("A blue bird.");
  *output->mutable_finish() = AnswerFinish(3);
  return FinishUnary(context);
}

grpc::ServerUnaryReactor* FakeParrotServer::Route(grpc::CallbackServerContext* context,
                                                  const v1::RouteRequest* request,
                                                  v1::RouteResponse* response) {
  v1::GenerateRequest common;
  *common.mutable_messages() = request->messages();
  if (request->has_generation_prefix()) {
    common.set_generation_prefix(request->generation_prefix());
  }
  if (request->has_image_placement()) common.set_image_placement(request->image_placement());
  if (request->has_routing()) common.set_routing(request->routing());
  Record(context, std::move(common));
  response->set_request_id("req-3");
  response->set_model("nano");
  *response->add_routing() = SixExperts(0);
  *response->mutable_usage() = AnswerUsage(0);
  return FinishUnary(context);
}

grpc::ServerUnaryReactor* FakeParrotServer::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  Record(context, {});
  response->set_model("nano");
  for (const char c : request->text()) {
    response->add_token_ids(static_cast<unsigned char>(c));
  }
  return FinishUnary(context);
}

grpc::ServerUnaryReactor* FakeParrotServer::CountTokens(grpc::CallbackServerContext* context,
                                                        const v1::CountTokensRequest* request,
                                                        v1::CountTokensResponse* response) {
  v1::GenerateRequest common;
  *common.mutable_messages() = request->messages();
  Record(context, std::move(common));
  response->set_model("nano");
  *response->mutable_usage() = AnswerUsage(0);
  response->set_max_model_len(2048);
  return FinishUnary(context);
}

grpc::ServerUnaryReactor* FakeParrotServer::GetModelInfo(grpc::CallbackServerContext* context,
                                                         const v1::GetModelInfoRequest*,
                                                         v1::GetModelInfoResponse* response) {
  Record(context, {});
  response->set_model("nano");
  response->add_served_names("nano");
  response->set_num_experts(6);
  response->set_image_tokens(577);
  response->set_device("cpu");
  response->set_dtype("float32");
  response->mutable_limits()->set_max_images(1);
  response->mutable_limits()->set_max_model_len(2048);
  return FinishUnary(context);
}

}  // namespace parrot
