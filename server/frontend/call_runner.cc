#include "server/frontend/call_runner.h"

#include <algorithm>
#include <new>
#include <optional>
#include <random>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "scheduler/retry_after.h"
#include "server/frontend/end_status.h"
#include "server/frontend/option_checks.h"

namespace parrot {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
// The engine ends a request at its deadline; the timer does when the engine hangs.
constexpr absl::Duration kEngineDeadlineGrace = absl::Seconds(1);

// What the client may see of the engine's error: an INTERNAL one may quote a library.
absl::Status PublicStatus(const absl::Status& status, const std::string& request_id) {
  if (status.code() == absl::StatusCode::kInternal || status.ok()) {
    return ErrorStatus(absl::StatusCode::kInternal,
                       "inference failed, id=" + request_id,
                       {.reason = "INFERENCE_FAILED"});
  }
  // What does not fit the worker is the prompt's fault.
  if (absl::IsInvalidArgument(status)) return WithField(status, "messages");
  if (!GetErrorFacts(status).reason.empty()) return status;
  return ErrorStatus(status.code(),
                     std::string_view(status.message().data(), status.message().size()),
                     {.reason = "ENGINE_" + absl::StatusCodeToString(status.code())});
}

absl::Status WithRetryAfter(const absl::Status& status, absl::Duration retry_after) {
  ErrorFacts facts = GetErrorFacts(status);
  facts.retry_after = retry_after;
  return ErrorStatus(
      status.code(), std::string_view(status.message().data(), status.message().size()), facts);
}

absl::Status StatusOfFinish(const FinishEvent& event, const std::string& request_id) {
  switch (event.reason) {
    case FinishReason::kStop:
    case FinishReason::kLength:
      return absl::OkStatus();
    case FinishReason::kCancelled:
      return Cancelled();
    case FinishReason::kDeadline:
      return DeadlineExceeded();
    case FinishReason::kError:
      break;
  }
  return PublicStatus(event.status, request_id);
}

// What the client is told at the end. A deadline that passes after some output is no error: the
// finish event says DEADLINE, and what came until then is valid.
absl::Status ToldStatus(const absl::Status& status, FinishReason reason, Call& call) {
  const bool is_partial = reason == FinishReason::kDeadline && call.stream().has_output();
  return is_partial ? absl::OkStatus() : status;
}

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

CallRunner::CallRunner(const Options& options, const Parts& parts)
    : options_(options),
      parts_(parts),
      id_seed_(RandomSeed()),
      admission_({.capacity = options.capacity, .max_engine_queue = options.max_engine_queue},
                 &parts.lifecycle,
                 [this] { return Load(); }),
      preprocessor_(options.capacity.num_preprocess_threads, options.capacity.max_preprocess_queue),
      uploads_({.limits = options_.limits,
                .validator = parts.validator,
                .intake = parts.image_intake,
                .admission = admission_,
                .preprocessor = preprocessor_,
                .metrics = parts.metrics,
                .clock = parts.clock,
                .bytes_per_image = options.bytes_per_image,
                .tokens_per_image = options.tokens_per_image}),
      output_(calls_,
              parts.metrics,
              parts.clock,
              {.on_finish = [this](Call& call,
                                   const FinishEvent& event) { OnEngineFinished(call, event); },
               .on_stop =
                   [this](Call& call, int32_t output_idx) {
                     engine_.cancel_sequence(call.facts().key, output_idx);
                   }}) {}

EngineLoad CallRunner::Load() const { return started_.load() ? engine_.load() : EngineLoad{}; }

std::vector<EngineLoad> CallRunner::WorkerLoads() const {
  return started_.load() ? engine_.worker_loads() : std::vector<EngineLoad>{};
}

void CallRunner::Start(EngineClient engine) {
  PARROT_CHECK(!started_.load());
  engine_ = std::move(engine);
  started_.store(true);
  output_.Start();
  preprocessor_.Start();
  timer_ = std::thread([this] {
    while (calls_.WaitForTick(kTick)) CheckTimers();
  });
}

void CallRunner::Stop() {
  preprocessor_.Stop();
  output_.Stop();
  calls_.Close();
  if (timer_.joinable()) timer_.join();
}

void CallRunner::EndAll(const absl::Status& status) {
  for (const std::shared_ptr<Call>& call : calls_.Calls()) {
    EndCall(*call, status, FinishReason::kError);
  }
}

// -- The beginning: validate, admit, queue --------------------------------------------------------

std::string CallRunner::MintRequestId(RequestKey key) const {
  return absl::StrCat(absl::Hex(id_seed_, absl::kZeroPad16), "-", absl::Hex(key, absl::kZeroPad8));
}

RequestKey CallRunner::Submit(GenerateSpec spec,
                              const Identity& identity,
                              const std::shared_ptr<ResponseStream>& stream,
                              bool warm_up) {
  Call::Facts facts;
  facts.key = next_key_.fetch_add(1);
  facts.kind = spec.kind;
  facts.arrival = spec.arrival == absl::InfinitePast() ? parts_.clock.Now() : spec.arrival;
  facts.deadline = WorkDeadline(options_.limits, facts.arrival, spec.deadline, spec.timeout_ms);
  const RequestKey key = facts.key;
  const absl::StatusOr<std::string> id = parts_.validator.ResolveRequestId(spec);
  facts.request_id = id.ok() && !id->empty() ? *id : MintRequestId(key);
  stream->SetRequestId(facts.request_id);

  absl::Status status = id.status();
  if (status.ok()) {
    absl::StatusOr<std::shared_ptr<Call>> call =
        Admit(std::move(spec), identity, stream, std::move(facts), warm_up);
    if (call.ok()) {
      calls_.Insert(*call);
      if (preprocessor_.TryPost([this, call = *call] { Prepare(*call); })) return key;
      EndCall(
          **call, admission_.Overloaded("QUEUE_FULL", "preprocessing queue"), FinishReason::kError);
      return key;
    }
    status = call.status();
  }
  parts_.metrics.CountRejected(GetErrorFacts(status).reason);
  stream->End(status, {});
  return key;
}

absl::StatusOr<std::shared_ptr<Call>> CallRunner::Admit(GenerateSpec&& spec,
                                                        const Identity& identity,
                                                        std::shared_ptr<ResponseStream> stream,
                                                        Call::Facts facts,
                                                        bool warm_up) {
  if (!warm_up) RETURN_IF_ERROR(admission_.CheckReady());
  ASSIGN_OR_RETURN(ValidRequest request, parts_.validator.Validate(std::move(spec)));
  if (facts.deadline <= parts_.clock.Now()) return DeadlineExceeded();
  facts.tenant = identity.tenant;
  facts.model = request.model;
  facts.language = request.language;
  facts.lock_language = request.lock_language;
  const int64_t pixel_bytes = request.num_images * options_.bytes_per_image;
  ASSIGN_OR_RETURN(std::unique_ptr<Admission::Ticket> ticket,
                   admission_.Admit(request.encoded_image_bytes + pixel_bytes));
  RETURN_IF_ERROR(parts_.image_intake.Resolve(request.messages, facts.tenant));
  return std::make_shared<Call>(
      std::move(facts), std::move(request), std::move(stream), std::move(ticket));
}

// -- The middle: prepare, hand to the engine ------------------------------------------------------

void CallRunner::Prepare(Call& call) {
  std::optional<ValidRequest> request = call.BeginPreparing();
  if (!request.has_value()) return;  // it ended while it waited
  absl::Status status;
  // The one boundary of the pool: a thread that runs out of memory costs one request.
  try {
    status = PrepareAndAdd(call, *std::move(request));
  } catch (const std::bad_alloc&) {
    status = admission_.Overloaded("OUT_OF_MEMORY", "memory");
  }
  if (status.ok()) {
    // Whoever ended it between BeginEngine and now told an engine that did not know it yet.
    if (call.ended()) engine_.cancel(call.facts().key);
    return;
  }
  call.Leave();
  EndCall(call, status, FinishReason::kError);
  ReleaseIfFinished(call);
}

absl::Status CallRunner::PrepareAndAdd(Call& call, ValidRequest request) {
  const auto keep_going = [this, &call]() -> absl::Status {
    if (call.ended()) return Cancelled();
    if (parts_.clock.Now() >= call.facts().deadline) return DeadlineExceeded();
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(PreparedPrompt prompt,
                   parts_.prompt_builder.Build(request, call.facts().tenant, keep_going));
  RETURN_IF_ERROR(ForceChoices(request));
  RETURN_IF_ERROR(parts_.validator.CheckPromptLogprobs(request.sampling, prompt.num_text_tokens));
  const auto num_prompt_tokens = static_cast<int32_t>(prompt.token_ids.size());
  ASSIGN_OR_RETURN(const int32_t max_tokens,
                   parts_.validator.CheckLength(
                       request.kind, num_prompt_tokens, request.max_tokens, request.min_tokens));
  parts_.metrics.CountImages(prompt.num_decoded_images, prompt.decoded_image_bytes);
  const Call::EngineStart start{
      .stop = std::move(request.stop),
      .num_outputs = request.num_outputs,
      .choices = request.choices,
      .wants_logprobs = request.sampling.num_logprobs >= 0,
      .pixel_bytes = static_cast<int64_t>(prompt.images.size()) * options_.bytes_per_image};
  if (!call.BeginEngine(prompt, parts_.tokenizer, start)) return Cancelled();
  const int32_t num_answers = request.choices.empty() ? request.num_outputs : 1;
  call.stream().Accept({.request_id = call.facts().request_id,
                        .model = call.facts().model,
                        .usage = call.prompt_usage()},
                       num_answers);
  // Before: an engine may end it before this thread goes on.
  if (call.facts().kind == RequestKind::kGenerate) {
    parts_.metrics.CountParameters(num_answers, max_tokens);
  }
  absl::Status added =
      engine_.add(MakeRequest(call, std::move(request), max_tokens, std::move(prompt)));
  if (added.ok()) return added;
  NoticeDeadEngine();
  return PublicStatus(added, call.facts().request_id);
}

absl::Status CallRunner::ForceChoices(ValidRequest& request) const {
  size_t longest = 0;
  for (size_t i = 0; i < request.choices.size(); ++i) {
    absl::StatusOr<std::vector<TokenId>> tokens = parts_.tokenizer.Encode(request.choices[i]);
    if (!tokens.ok()) return WithField(tokens.status(), Indexed("choices", i));
    tokens->push_back(options_.eos_token_id);
    longest = std::max(longest, tokens->size());
    request.forced_token_ids.push_back(*std::move(tokens));
  }
  if (request.choices.empty()) return absl::OkStatus();
  request.num_outputs = static_cast<int32_t>(request.choices.size());
  request.max_tokens = static_cast<int32_t>(longest);
  request.sampling.num_logprobs = 0;
  return absl::OkStatus();
}

std::shared_ptr<const Request> CallRunner::MakeRequest(const Call& call,
                                                       ValidRequest valid,
                                                       int32_t max_tokens,
                                                       PreparedPrompt prompt) const {
  auto request = std::make_shared<Request>();
  const Call::Facts& facts = call.facts();
  request->key = facts.key;
  request->request_id = facts.request_id;
  request->tenant = facts.tenant;
  request->kind = facts.kind;
  request->token_ids = std::move(prompt.token_ids);
  request->images = std::move(prompt.images);
  request->text_ids = std::move(prompt.text_ids);
  request->exact_text_ids = std::move(prompt.exact_text_ids);
  request->sampling = std::move(valid.sampling);
  request->num_sequences = valid.num_outputs;
  request->forced_token_ids = std::move(valid.forced_token_ids);
  request->max_tokens = max_tokens;
  request->min_tokens = valid.min_tokens;
  request->ignore_eos = valid.ignore_eos;
  std::vector<TokenId> stop_token_ids = std::move(valid.stop_token_ids);
  if (!valid.ignore_eos) stop_token_ids.push_back(options_.eos_token_id);
  std::sort(stop_token_ids.begin(), stop_token_ids.end());
  stop_token_ids.erase(std::unique(stop_token_ids.begin(), stop_token_ids.end()),
                       stop_token_ids.end());
  if (valid.min_tokens > 0) {
    request->sampling.min_tokens = valid.min_tokens;
    request->sampling.late_token_ids = stop_token_ids;
  }
  request->stop_token_ids = std::move(stop_token_ids);
  request->arrival = facts.arrival;
  request->deadline = facts.deadline;
  request->priority = valid.priority;
  return request;
}

// -- The end --------------------------------------------------------------------------------------

void CallRunner::OnEngineFinished(Call& call, const FinishEvent& event) {
  const absl::Time now = parts_.clock.Now();
  Call::FinishedOutput output = call.FinishOutput(event, now);
  absl::Status status;
  if (output.event.stop_text.empty()) {
    status = ToldStatus(StatusOfFinish(event, call.facts().request_id), event.reason, call);
    if (absl::IsResourceExhausted(status)) status = WithRetryAfter(status, RetryAfter(Load()));
  }
  const auto deliver = [&call, &output] {
    call.stream().Push(output.event.output_idx, std::move(output.tail));
    call.stream().FinishOutput(output.event);
  };
  if (status.ok() && !output.is_last) {
    if (!call.ended() && !output.is_hidden) deliver();
    return;
  }
  // The last answer is complete, or one has failed: then the others are worth nothing.
  if (!call.TryEnd().has_value()) {
    ReleaseIfFinished(call);
    return;
  }
  if (!output.is_last) engine_.cancel(call.facts().key);
  if (status.ok() && call.facts().kind == RequestKind::kRoute) {
    parts_.metrics.CountRouted(output.event, call.facts().language);
  } else {
    CountFinished(call, output.event);
  }
  if (event.reason == FinishReason::kError) NoticeDeadEngine();
  CountFailure(call, status);
  // Room first, the client's last word then: whoever has read it finds the room free.
  ReleaseIfFinished(call);
  if (status.ok()) deliver();
  call.stream().End(status, output.event);
}

bool CallRunner::EndCall(Call& call, const absl::Status& status, FinishReason reason) {
  const std::optional<Call::Ending> ending = call.TryEnd();
  if (!ending.has_value()) return false;
  const OutputFinishedEvent finished = call.MakeFinish(reason, parts_.clock.Now());
  const absl::Status told = ToldStatus(status, reason, call);
  if (absl::IsCancelled(told)) parts_.metrics.CountCancelled(ending->stage);
  CountFailure(call, told);
  if (ending->in_engine) {
    CountFinished(call, finished);
    engine_.cancel(call.facts().key);
  }
  ReleaseIfFinished(call);
  call.stream().End(told, finished);
  return true;
}

void CallRunner::CountFinished(const Call& call, const OutputFinishedEvent& last) {
  parts_.metrics.CountFinished(last, call.num_completion_tokens(), call.facts().language);
  if (call.facts().lock_language.empty()) return;
  parts_.metrics.CountBlocked(call.num_blocked_tokens(), call.facts().lock_language);
}

void CallRunner::CountFailure(Call& call, const absl::Status& status) {
  if (status.ok() || absl::IsCancelled(status)) return;
  if (call.stream().has_output() && !absl::IsAborted(status)) return;
  parts_.metrics.CountRejected(GetErrorFacts(status).reason);
}

void CallRunner::NoticeDeadEngine() {
  if (!Load().health.ok()) parts_.lifecycle.Set(ServerState::kFailed);
}

void CallRunner::ReleaseIfFinished(Call& call) {
  if (!call.finished()) return;
  call.ReleaseTicket();  // first: who finds no call finds its room free
  calls_.Remove(call);
}

void CallRunner::Cancel(RequestKey key) {
  if (const std::shared_ptr<Call> call = calls_.Find(key); call != nullptr) {
    call->stream().Detach();  // first: the reader wants to hear no end
    EndCall(*call, Cancelled(), FinishReason::kCancelled);
    return;
  }
  if (const std::shared_ptr<ResponseStream> stream = calls_.TakeUnread(key); stream != nullptr) {
    if (!stream->closed()) parts_.metrics.CountCancelled(CancelStage::kWrite);
    stream->Detach();
  }
}

int32_t CallRunner::Abort(std::string_view request_id) {
  int32_t num_aborted = 0;
  for (const std::shared_ptr<Call>& call : calls_.Calls()) {
    if (call->facts().request_id != request_id) continue;
    if (EndCall(*call, Aborted(), FinishReason::kCancelled)) ++num_aborted;
  }
  return num_aborted;
}

void CallRunner::Pause() {
  if (started_.load()) engine_.pause();
}

void CallRunner::Resume() {
  if (started_.load()) engine_.resume();
}

void CallRunner::FlushCache() {
  if (started_.load()) engine_.flush_cache();
}

void CallRunner::CheckTimers() {
  const absl::Time now = parts_.clock.Now();
  for (const std::shared_ptr<Call>& call : calls_.Calls()) {
    if (call->stream().AbortIfStalled(now)) {
      EndCall(*call, ResponseStream::TooSlow(), FinishReason::kCancelled);
      continue;
    }
    const absl::Duration grace = call->in_engine() ? kEngineDeadlineGrace : absl::ZeroDuration();
    if (now >= call->facts().deadline + grace) {
      EndCall(*call, DeadlineExceeded(), FinishReason::kDeadline);
    }
  }
  for (const auto& [key, stream] : calls_.SweepUnread()) {
    if (stream->AbortIfStalled(now)) {
      parts_.metrics.CountRejected(GetErrorFacts(ResponseStream::TooSlow()).reason);
    }
  }
  NoticeDeadEngine();
}

}  // namespace parrot
