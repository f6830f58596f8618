#include "server/frontend/output_processor.h"

#include <cmath>
#include <utility>
#include <variant>

#include "base/check.h"

namespace parrot {

float Entropy(const std::vector<float>& weights) {
  double entropy = 0.0;
  for (const float weight : weights) {
    if (weight > 0.0f) entropy -= double{weight} * std::log(double{weight});
  }
  return static_cast<float>(entropy);
}

OutputProcessor::OutputProcessor(CallTable& calls,
                                 Metrics& metrics,
                                 Clock& clock,
                                 Handlers handlers)
    : calls_(calls), metrics_(metrics), clock_(clock), handlers_(std::move(handlers)) {}

OutputProcessor::~OutputProcessor() { Stop(); }

void OutputProcessor::Start() {
  PARROT_CHECK(!thread_.joinable());
  thread_ = std::thread([this] { Run(); });
}

void OutputProcessor::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void OutputProcessor::OnEvents(std::vector<EngineEvent>& events) {
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  for (EngineEvent& event : events) pending_.push_back({std::move(event), now});
}

void OutputProcessor::Run() {
  std::vector<TimedEvent> batch;
  while (true) {
    batch.clear();
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &OutputProcessor::HasWork));
      if (pending_.empty()) return;
      batch.swap(pending_);
    }
    for (const TimedEvent& timed : batch) {
      std::visit([this, &timed](const auto& event) { Handle(event, timed.at); }, timed.event);
    }
  }
}

void OutputProcessor::Handle(const RoutingEvent& event, absl::Time) {
  const std::shared_ptr<Call> call = calls_.Find(event.key);
  if (call == nullptr) return;
  call->AddRouting({.image_idx = event.image_idx,
                    .expert_weights = event.weights,
                    .entropy = Entropy(event.weights),
                    .cache_level = event.cache_level});
}

void OutputProcessor::Handle(const TokenEvent& event, absl::Time at) {
  const std::shared_ptr<Call> call = calls_.Find(event.key);
  if (call == nullptr || call->ended()) return;
  Call::Taken taken = call->TakeToken(event, at, clock_);
  if (taken.first_token) {
    metrics_.ObserveFirstToken(at - call->facts().arrival);
    call->stream().SetRouting(call->routing());
  }
  if (taken.since_last_token.has_value()) metrics_.ObserveInterToken(*taken.since_last_token);
  call->stream().Push(event.sequence_idx, std::move(taken.piece));
  if (taken.stopped) handlers_.on_stop(*call, event.sequence_idx);
}

void OutputProcessor::Handle(const FinishEvent& event, absl::Time) {
  const std::shared_ptr<Call> call = calls_.Find(event.key);
  if (call != nullptr) handlers_.on_finish(*call, event);
}

}  // namespace parrot
