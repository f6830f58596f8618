// Adds the time between its construction and Stop (or destruction) to one stage of a step. Waits
// for the device at both ends, so that the time is the work's and not the queue's.
#ifndef PARROT_MODEL_RUNTIME_STAGE_TIMER_H_
#define PARROT_MODEL_RUNTIME_STAGE_TIMER_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/api/step.h"
#include "model/backend/backend.h"

namespace parrot {

class StageTimer {
 public:
  StageTimer(const Backend& backend, Stage stage, StageTimes* times)
      : backend_(backend), stage_(stage), times_(times), start_(Now()) {}
  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

  // The work succeeded. Without it (an exception on the way) no time is added and the device is not
  // asked again.
  void Stop() { (*times_)[stage_] += Now() - start_; }

 private:
  absl::Time Now() const {
    backend_.Synchronize();
    return absl::Now();
  }

  const Backend& backend_;
  const Stage stage_;
  StageTimes* const times_;
  const absl::Time start_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_STAGE_TIMER_H_
