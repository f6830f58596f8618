// OutputProcessor: the engines' EventSink. An engine thread only hands events over; a thread of
// its own turns tokens into text and pushes it to the streams, so that neither a detokeniser nor a
// protocol's callback ever delays a step.
//
// When the thread is behind, the events of several steps wait for it. What they add to one answer
// it then hands over as one piece, so a token costs less and it catches up. What waits has no bound
// of its own and needs none: the engine makes no more events than max_num_seqs a step, and each
// request's are bounded by its max_tokens.
//
// Thread contract: OnEvents on the engine threads; the rest thread-safe. Several engines take turns
// at one short lock; the events of a call come from one of them, in order.
#ifndef PARROT_SERVER_FRONTEND_OUTPUT_PROCESSOR_H_
#define PARROT_SERVER_FRONTEND_OUTPUT_PROCESSOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "scheduler/event.h"
#include "scheduler/request.h"
#include "server/frontend/answer.h"
#include "server/frontend/call.h"
#include "server/frontend/call_table.h"
#include "server/frontend/metrics.h"

namespace parrot {

class OutputProcessor final : public EventSink {
 public:
  // Called on the output thread.
  struct Handlers {
    // The engine has said its last word on an answer; what remains is to end it.
    std::function<void(Call&, const FinishEvent&)> on_finish;
    // A stop string was found in an answer, which the engine goes on with.
    std::function<void(Call&, int32_t output_idx)> on_stop;
  };

  // All borrowed.
  OutputProcessor(CallTable& calls, Metrics& metrics, Clock& clock, Handlers handlers);
  ~OutputProcessor() override;

  void Start();
  // Handles what has come so far and joins. Idempotent.
  void Stop();
  void OnEvents(std::vector<EngineEvent>& events) override;

 private:
  struct TimedEvent {
    EngineEvent event;
    absl::Time at;  // when the engine reported it
  };

  // What a run of events of one call has added to one of its answers.
  struct Gathered {
    RequestKey key = 0;
    std::shared_ptr<Call> call;  // null: nobody waits for them
    int32_t output_idx = 0;
    AnswerPiece piece;
  };

  void Run();
  void HandleAll(const std::vector<TimedEvent>& batch, int32_t num_steps);
  // `gathered` is of the event's call.
  void Handle(const RoutingEvent& event, absl::Time at, Gathered& gathered);
  void Handle(const PromptLogprobEvent& event, absl::Time at, Gathered& gathered);
  void Handle(const TokenEvent& event, absl::Time at, Gathered& gathered);
  void Handle(const FinishEvent& event, absl::Time at, Gathered& gathered);
  static void Deliver(Gathered& gathered);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !pending_.empty();
  }

  CallTable& calls_;
  Metrics& metrics_;
  Clock& clock_;
  const Handlers handlers_;
  absl::Mutex mutex_;
  std::vector<TimedEvent> pending_ ABSL_GUARDED_BY(mutex_);
  int32_t num_pending_steps_ ABSL_GUARDED_BY(mutex_) = 0;  // that pending_ comes from
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // touched by Start and Stop alone
};

// Shannon entropy in nats; 0 for an empty vector. Weights <= 0 add nothing.
float Entropy(const std::vector<float>& weights);

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_OUTPUT_PROCESSOR_H_
