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
                                 FinishHandler on_finish)
    : calls_(calls), metrics_(metrics), clock_(clock), on_finish_(std::move(on_finish)) {}

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
                    .entropy = Entropy(event.weights)});
}

void OutputProcessor::Handle(const TokenEvent& event, absl::Time at) {
  const std::shared_ptr<Call> call = calls_.Find(event.key);
  if (call == nullptr || call->ended()) return;
  const Call::Piece piece = call->AddToken(event.token, at, clock_);
  if (piece.first_token) {
    metrics_.ObserveFirstToken(at - call->facts().arrival);
    call->stream().SetRouting(call->routing());
  } else {
    metrics_.ObserveInterToken(piece.since_last_token);
  }
  call->stream().Push(event.sequence_idx, piece.text, event.token);
}

void OutputProcessor::Handle(const FinishEvent& event, absl::Time) {
  const std::shared_ptr<Call> call = calls_.Find(event.key);
  if (call != nullptr) on_finish_(*call, event);
}

}  // namespace parrot
