// Asks a server the questions of an evaluation, many at a time, and hands on each outcome as it
// comes. A request that the server cannot take now (UNAVAILABLE, RESOURCE_EXHAUSTED) is made again,
// after the pause that the server asks for or a growing one of our own; what fails for good is a
// sample too, marked as failed.
//
//   EvalRunner runner(client, {.concurrency = 16});
//   absl::Status status = runner.Run(num_questions, make_question, cancellation, on_sample,
//   on_tick);
//
// Confined to one thread, on which the callbacks run; it starts a thread for each request in
// flight.
#ifndef PARROT_CLIENT_EVAL_EVAL_RUNNER_H_
#define PARROT_CLIENT_EVAL_EVAL_RUNNER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "client/parrot_client.h"
#include "eval/sample_log.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {

struct EvalQuestion {
  Sample sample;  // data set, index, hash; the outcome goes into it
  v1::GenerateRequest request;
  std::map<std::string, char> letters;  // of the request's choices
};

struct EvalRunOptions {
  int32_t concurrency = 16;  // requests in flight; one connection carries 100
  int32_t max_attempts = 8;  // of one question, the first included
  // Between attempts: at first what the server asks for, or this; then doubled each time, up to the
  // longest or what the server asks for.
  absl::Duration first_pause = absl::Milliseconds(500);
  absl::Duration longest_pause = absl::Seconds(30);
  // A server that fails this many questions in a row is given up (those that it refuses with
  // INVALID_ARGUMENT do not count).
  int32_t max_failures_in_a_row = 20;
};

struct EvalProgress {
  absl::Duration elapsed;
  int64_t num_questions = 0;
  int64_t num_done = 0;  // failed ones included
  int64_t num_failed = 0;
  int64_t completion_tokens = 0;
};

class EvalRunner {
 public:
  // The i-th question. Called on any thread, several at once; an error makes a failed sample of the
  // one that `sample_of` tells.
  struct Questions {
    size_t size = 0;
    std::function<Sample(size_t)> sample_of;
    std::function<absl::StatusOr<EvalQuestion>(size_t)> make;
  };

  EvalRunner(ParrotClient& client, const EvalRunOptions& options)
      : client_(client), options_(options) {}
  EvalRunner(const EvalRunner&) = delete;
  EvalRunner& operator=(const EvalRunner&) = delete;

  // Returns when every question has its sample, soon after cancellation.Cancel() (CANCELLED), after
  // an error of `on_sample`, or when the server is given up (its last error). Samples in any order.
  // `on_tick` about every 200 ms.
  absl::Status Run(const Questions& questions,
                   Cancellation& cancellation,
                   const std::function<absl::Status(Sample)>& on_sample,
                   const std::function<void(const EvalProgress&)>& on_tick);

 private:
  void Work(const Questions& questions, Cancellation& cancellation);
  Sample Ask(const Questions& questions, size_t i, Cancellation& cancellation);
  // False if the run was stopped.
  bool Pause(absl::Duration pause);
  bool HasNews() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ParrotClient& client_;
  const EvalRunOptions options_;
  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t num_workers_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Sample> done_ ABSL_GUARDED_BY(mutex_);
};

// Whether the same request may succeed later.
bool IsWorthRetrying(const absl::Status& status);

// Copies what the server answered into the sample; a finish that is no whole answer marks it
// failed.
void TakeResponse(const v1::GenerateUnaryResponse& response,
                  const std::map<std::string, char>& letters,
                  Sample* sample);

}  // namespace parrot

#endif  // PARROT_CLIENT_EVAL_EVAL_RUNNER_H_
