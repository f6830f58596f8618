#include "client/eval/eval_runner.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/error_status.h"
#include "client/reply_names.h"

namespace parrot {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(200);
// Says nothing about the server: a picture that it does not take, a text too long.
constexpr char kOfTheQuestion[] = "INVALID_ARGUMENT";

void Fail(const absl::Status& status, Sample* sample) {
  sample->error_code = absl::StatusCodeToString(status.code());
  sample->error_reason = GetErrorFacts(status).reason;
  sample->error_message = std::string(status.message().data(), status.message().size());
}

// The double with the float's shortest decimal.
double Shortest(float value) {
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  double parsed = 0;
  std::from_chars(buffer.data(), end, parsed);
  return error == std::errc() && std::isfinite(parsed) ? parsed : 0;
}

void TakeChoices(const v1::Finish& finish,
                 const std::map<std::string, char>& letters,
                 Sample* sample) {
  float best = -1;
  for (const v1::ChoiceProbability& choice : finish.choices()) {
    const auto letter = letters.find(choice.text());
    if (letter == letters.end()) continue;
    sample->option_probability[letter->second] = Shortest(choice.probability());
    if (choice.probability() <= best) continue;
    best = choice.probability();
    sample->letter = letter->second;
  }
}

}  // namespace

bool IsWorthRetrying(const absl::Status& status) {
  if (absl::IsUnavailable(status)) return true;
  return absl::IsResourceExhausted(status) && GetErrorFacts(status).reason != "MESSAGE_TOO_LARGE";
}

void TakeResponse(const v1::GenerateUnaryResponse& response,
                  const std::map<std::string, char>& letters,
                  Sample* sample) {
  if (response.outputs_size() != 1) {
    Fail(ErrorStatus(absl::StatusCode::kInternal,
                     absl::StrCat(response.outputs_size(), " answers instead of one"),
                     {.reason = "STREAM_INCOMPLETE"}),
         sample);
    return;
  }
  const v1::Output& output = response.outputs(0);
  const v1::Finish& finish = output.finish();
  if (finish.finish_reason() != v1::FINISH_REASON_STOP &&
      finish.finish_reason() != v1::FINISH_REASON_LENGTH) {
    Fail(ErrorStatus(absl::StatusCode::kAborted,
                     "the answer was not finished",
                     {.reason = FinishReasonName(finish.finish_reason())}),
         sample);
    return;
  }
  sample->raw = output.text();
  sample->finish_reason = FinishReasonName(finish.finish_reason());
  sample->prompt_tokens = finish.usage().prompt_tokens();
  sample->completion_tokens = finish.usage().completion_tokens();
  if (finish.routing_size() > 0) {
    for (const float weight : finish.routing(0).expert_weights()) {
      sample->expert_weights.push_back(Shortest(weight));
    }
  }
  TakeChoices(finish, letters, sample);
}

bool EvalRunner::Pause(absl::Duration pause) {
  const absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithTimeout(absl::Condition(&stopped_), pause);
}

Sample EvalRunner::Ask(const Questions& questions, size_t i, Cancellation& cancellation) {
  const absl::Time start = Clock::Real().Now();
  absl::StatusOr<EvalQuestion> question = questions.make(i);
  if (!question.ok()) {
    Sample sample = questions.sample_of(i);
    Fail(question.status(), &sample);
    return sample;
  }
  Sample& sample = question->sample;
  absl::Duration pause = absl::ZeroDuration();
  for (sample.num_attempts = 1;; ++sample.num_attempts) {
    const absl::StatusOr<v1::GenerateUnaryResponse> response =
        client_.GenerateUnary(question->request, {.cancellation = &cancellation});
    sample.latency_s = absl::ToDoubleSeconds(Clock::Real().Now() - start);
    if (response.ok()) {
      TakeResponse(*response, question->letters, &sample);
      break;
    }
    const absl::Status& error = response.status();
    const bool again = IsWorthRetrying(error) && sample.num_attempts < options_.max_attempts;
    const absl::Duration asked = GetErrorFacts(error).retry_after;
    const absl::Duration first = asked > absl::ZeroDuration() ? asked : options_.first_pause;
    pause = std::max(asked, std::min(std::max(first, 2 * pause), options_.longest_pause));
    if (!again || !Pause(pause)) {
      Fail(error, &sample);
      break;
    }
  }
  return std::move(sample);
}

void EvalRunner::Work(const Questions& questions, Cancellation& cancellation) {
  while (true) {
    size_t i = 0;
    {
      const absl::MutexLock lock(&mutex_);
      if (stopped_ || next_ == questions.size) {
        --num_workers_;
        return;
      }
      i = next_++;
    }
    Sample sample = Ask(questions, i, cancellation);
    // What was in flight then failed because of it.
    if (cancellation.cancelled() && sample.failed()) continue;
    const absl::MutexLock lock(&mutex_);
    done_.push_back(std::move(sample));
  }
}

bool EvalRunner::HasNews() const { return !done_.empty() || num_workers_ == 0; }

absl::Status EvalRunner::Run(const Questions& questions,
                             Cancellation& cancellation,
                             const std::function<absl::Status(Sample)>& on_sample,
                             const std::function<void(const EvalProgress&)>& on_tick) {
  const absl::Time start = Clock::Real().Now();
  const auto num_workers =
      static_cast<int32_t>(std::min<size_t>(questions.size, options_.concurrency));
  {
    const absl::MutexLock lock(&mutex_);
    stopped_ = false;
    next_ = 0;
    num_workers_ = num_workers;
  }
  std::vector<std::thread> workers;
  workers.reserve(static_cast<size_t>(num_workers));
  for (int32_t i = 0; i < num_workers; ++i) {
    workers.emplace_back([&] { Work(questions, cancellation); });
  }
  EvalProgress progress{.num_questions = static_cast<int64_t>(questions.size)};
  absl::Status status;
  int32_t num_failures_in_a_row = 0;
  while (true) {
    std::deque<Sample> done;
    bool is_over = false;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &EvalRunner::HasNews), kTick);
      done.swap(done_);
      is_over = num_workers_ == 0;
      stopped_ |= cancellation.cancelled() || !status.ok();
    }
    for (Sample& sample : done) {
      ++progress.num_done;
      progress.num_failed += sample.failed() ? 1 : 0;
      progress.completion_tokens += sample.completion_tokens;
      if (!sample.failed()) {
        num_failures_in_a_row = 0;
      } else if (sample.error_code != kOfTheQuestion) {
        ++num_failures_in_a_row;
      }
      if (num_failures_in_a_row == options_.max_failures_in_a_row && status.ok()) {
        status.Update(ErrorStatus(absl::StatusCode::kUnavailable,
                                  absl::StrCat(num_failures_in_a_row,
                                               " questions in a row failed, the last with ",
                                               sample.error_code,
                                               ": ",
                                               sample.error_message),
                                  {.reason = "GIVEN_UP"}));
      }
      status.Update(on_sample(std::move(sample)));
    }
    progress.elapsed = Clock::Real().Now() - start;
    on_tick(progress);
    if (is_over) break;
  }
  for (std::thread& worker : workers) worker.join();
  if (cancellation.cancelled()) status.Update(absl::CancelledError("interrupted"));
  return status;
}

}  // namespace parrot
