#include "server/frontend/output_processor.h"

#include <algorithm>
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
  ++num_pending_steps_;
  for (EngineEvent& event : events) pending_.push_back({std::move(event), now});
}

void OutputProcessor::Run() {
  std::vector<TimedEvent> batch;
  while (true) {
    batch.clear();
    int32_t num_steps = 0;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &OutputProcessor::HasWork));
      if (pending_.empty()) return;
      batch.swap(pending_);
      num_steps = std::exchange(num_pending_steps_, 0);
    }
    HandleAll(batch, num_steps);
  }
}

void OutputProcessor::HandleAll(const std::vector<TimedEvent>& batch, int32_t num_steps) {
  std::vector<const TimedEvent*> order;
  order.reserve(batch.size());
  for (const TimedEvent& timed : batch) order.push_back(&timed);
  const auto key_of = [](const TimedEvent* timed) {
    return std::visit([](const auto& event) { return event.key; }, timed->event);
  };
  // Each call's events together, in their order. One step's need no sorting: a token for each.
  if (num_steps > 1) {
    std::stable_sort(order.begin(), order.end(), [&](const TimedEvent* a, const TimedEvent* b) {
      return key_of(a) < key_of(b);
    });
  }
  Gathered gathered;
  for (const TimedEvent* timed : order) {
    if (const RequestKey key = key_of(timed); key != gathered.key) {
      Deliver(gathered);
      gathered = {.key = key, .call = calls_.Find(key)};
    }
    if (gathered.call == nullptr) continue;
    std::visit([&](const auto& event) { Handle(event, timed->at, gathered); }, timed->event);
  }
  Deliver(gathered);
}

void OutputProcessor::Deliver(Gathered& gathered) {
  if (gathered.piece.empty()) return;
  gathered.call->stream().Push(gathered.output_idx, std::exchange(gathered.piece, {}));
}

void OutputProcessor::Handle(const RoutingEvent& event, absl::Time, Gathered& gathered) {
  gathered.call->AddRouting({.image_idx = event.image_idx,
                             .expert_weights = event.weights,
                             .entropy = Entropy(event.weights),
                             .cache_level = event.cache_level,
                             .error_bound = event.error_bound});
}

void OutputProcessor::Handle(const PromptLogprobEvent& event, absl::Time, Gathered& gathered) {
  gathered.call->stream().AddPromptLogprobs(gathered.call->Score(event));
}

void OutputProcessor::Handle(const TokenEvent& event, absl::Time at, Gathered& gathered) {
  Call& call = *gathered.call;
  if (call.ended()) return;
  Call::Taken taken = call.TakeToken(event, at, clock_);
  if (taken.first_token) {
    metrics_.ObserveFirstToken(at - call.facts().arrival);
    call.stream().SetRouting(call.routing());
  }
  if (taken.since_last_token.has_value()) metrics_.ObserveInterToken(*taken.since_last_token);
  if (event.sequence_idx != gathered.output_idx) {
    Deliver(gathered);
    gathered.output_idx = event.sequence_idx;
  }
  gathered.piece.Append(std::move(taken.piece));
  if (!taken.stopped) return;
  Deliver(gathered);
  handlers_.on_stop(call, event.sequence_idx);
}

void OutputProcessor::Handle(const FinishEvent& event, absl::Time, Gathered& gathered) {
  Deliver(gathered);
  handlers_.on_finish(*gathered.call, event);
}

}  // namespace parrot
