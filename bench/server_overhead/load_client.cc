#include "bench/server_overhead/load_client.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/client_callback.h"

namespace parrot {
namespace {

constexpr int32_t kStreamsPerConnection = 50;
constexpr int32_t kRefusalConnections = 4;

}  // namespace

StubPtr Connect(int32_t port, const grpc::ChannelArguments& arguments) {
  grpc::ChannelArguments own = arguments;
  own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  own.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  return v1::ParrotService::NewStub(grpc::CreateCustomChannel(
      absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(), own));
}

v1::GenerateRequest Question(int32_t max_tokens) {
  v1::GenerateRequest request;
  v1::Message* message = request.add_messages();
  message->set_role(v1::ROLE_USER);
  message->add_parts()->set_text("What can be seen in the picture?");
  request.mutable_stop()->set_max_tokens(max_tokens);
  request.mutable_stop()->set_ignore_eos(true);
  return request;
}

// -- StreamLoad -----------------------------------------------------------------------------------

class StreamLoad::Call final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  Call(StreamLoad* load, int32_t stream) : load_(*load), stream_(stream) {}

  void Start(v1::ParrotService::Stub& stub) {
    stub.async()->Generate(&context_, &load_.request_, this);
    StartRead(&response_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (response_.has_delta()) TakeDelta();
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override { load_.OnDone(stream_, status); }
  // REQUIRES: it is done.
  Window& window() { return window_; }

 private:
  void TakeDelta() {
    const absl::Time now = absl::Now();
    if (last_ == absl::InfinitePast()) load_.OnFirstText();
    if (load_.is_recording_.load(std::memory_order_relaxed) && last_ != absl::InfinitePast()) {
      window_.gaps_ms.push_back(static_cast<float>(absl::ToDoubleMilliseconds(now - last_)));
      ++window_.num_messages;
      window_.num_tokens += response_.delta().token_ids_size();
    }
    last_ = now;
  }

  StreamLoad& load_;
  const int32_t stream_;
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
  absl::Time last_ = absl::InfinitePast();
  Window window_;
};

StreamLoad::StreamLoad(int32_t port, int32_t num_streams, int32_t max_tokens)
    : num_streams_(num_streams), request_(Question(max_tokens)), calls_(num_streams) {
  for (int32_t i = 0; i < num_streams; i += kStreamsPerConnection) stubs_.push_back(Connect(port));
}

StreamLoad::~StreamLoad() { EndWindow(); }

void StreamLoad::Open() {
  for (int32_t stream = 0; stream < num_streams_; ++stream) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &StreamLoad::MayOpen));
      ++num_opened_;
    }
    StartCall(stream);
  }
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &StreamLoad::AllHaveText));
}

void StreamLoad::StartCall(int32_t stream) {
  auto call = std::make_shared<Call>(this, stream);
  {
    absl::MutexLock lock(&mutex_);
    if (is_closing_) return;
    ++num_live_;
    calls_[stream] = call;
  }
  call->Start(*stubs_[stream % stubs_.size()]);
}

void StreamLoad::OnFirstText() {
  absl::MutexLock lock(&mutex_);
  ++num_with_text_;
}

void StreamLoad::OnDone(int32_t stream, const grpc::Status& status) {
  std::shared_ptr<Call> call;  // destroyed last
  {
    absl::MutexLock lock(&mutex_);
    PARROT_CHECK(is_closing_ || status.ok()) << status.error_message();
    call = std::move(calls_[stream]);
    const Window& window = call->window();
    window_.num_messages += window.num_messages;
    window_.num_tokens += window.num_tokens;
    window_.gaps_ms.insert(window_.gaps_ms.end(), window.gaps_ms.begin(), window.gaps_ms.end());
  }
  StartCall(stream);
  absl::MutexLock lock(&mutex_);
  --num_live_;
}

StreamLoad::Window StreamLoad::EndWindow() {
  is_recording_.store(false);
  std::vector<std::shared_ptr<Call>> calls;
  {
    absl::MutexLock lock(&mutex_);
    is_closing_ = true;
    calls = calls_;
  }
  for (const std::shared_ptr<Call>& call : calls) {
    if (call != nullptr) call->Cancel();
  }
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &StreamLoad::AllDone));
  return std::exchange(window_, {});
}

// -- StalledReader --------------------------------------------------------------------------------

StalledReader::StalledReader(int32_t port, int32_t max_tokens) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  stub_ = Connect(port, arguments);
  stream_ = stub_->Generate(&context_, Question(max_tokens));
  v1::GenerateResponse response;
  PARROT_CHECK(stream_->Read(&response)) << stream_->Finish().error_message();
}

StalledReader::~StalledReader() {
  context_.TryCancel();
  v1::GenerateResponse response;
  while (stream_->Read(&response)) {
  }
  const grpc::Status status = stream_->Finish();
  PARROT_CHECK(status.error_code() == grpc::StatusCode::CANCELLED) << status.error_message();
}

// -- RefusedCalls ---------------------------------------------------------------------------------

namespace {

struct RefusedCall {
  grpc::ClientContext context;
  v1::GenerateUnaryResponse response;
  absl::Time start;
  float elapsed_ms = 0;
  grpc::Status status;
};

// Counts down to zero.
class Countdown {
 public:
  explicit Countdown(int32_t count) : count_(count) {}
  void Decrement() {
    absl::MutexLock lock(&mutex_);
    --count_;
  }
  void Wait() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int32_t* count) { return *count == 0; }, &count_));
  }

 private:
  absl::Mutex mutex_;
  int32_t count_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::vector<float> RefusedCalls(int32_t port, int32_t num_calls, absl::Duration interval) {
  std::vector<StubPtr> stubs;
  for (int32_t i = 0; i < kRefusalConnections; ++i) stubs.push_back(Connect(port));
  const v1::GenerateRequest request = Question(16);
  std::vector<std::unique_ptr<RefusedCall>> calls(num_calls);
  Countdown num_left(num_calls);
  const absl::Time start = absl::Now();
  for (int32_t i = 0; i < num_calls; ++i) {
    std::this_thread::sleep_until(absl::ToChronoTime(start + i * interval));  // the open loop
    calls[i] = std::make_unique<RefusedCall>();
    RefusedCall* call = calls[i].get();
    call->start = absl::Now();
    stubs[i % stubs.size()]->async()->GenerateUnary(
        &call->context, &request, &call->response, [call, &num_left](grpc::Status status) {
          call->elapsed_ms =
              static_cast<float>(absl::ToDoubleMilliseconds(absl::Now() - call->start));
          call->status = std::move(status);
          num_left.Decrement();
        });
  }
  num_left.Wait();
  std::vector<float> elapsed_ms;
  for (const auto& call : calls) {
    PARROT_CHECK(call->status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
                 call->context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms") == 1)
        << "not refused as it should be: " << call->status.error_message();
    elapsed_ms.push_back(call->elapsed_ms);
  }
  return elapsed_ms;
}

}  // namespace parrot
