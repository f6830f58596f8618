#include "server/frontend/call.h"

#include <cmath>
#include <utility>

#include "base/check.h"

namespace parrot {
namespace {

ScoredToken Scored(TokenId token, float logprob, const Tokenizer& tokenizer) {
  return {.token = token, .logprob = logprob, .bytes = std::string(tokenizer.TokenBytes(token))};
}

// A TokenEvent or a PromptLogprobEvent.
template <typename Event>
TokenLogprobs ScoreEvent(const Event& event, const Tokenizer& tokenizer) {
  TokenLogprobs logprobs{.chosen = Scored(event.token, event.logprob, tokenizer)};
  logprobs.top.reserve(event.top.size());
  for (const TokenLogprob& top : event.top) {
    logprobs.top.push_back(Scored(top.token, top.logprob, tokenizer));
  }
  return logprobs;
}

}  // namespace

Call::Call(Facts facts,
           ValidRequest request,
           std::shared_ptr<ResponseStream> stream,
           std::unique_ptr<Admission::Ticket> ticket)
    : facts_(std::move(facts)),
      stream_(std::move(stream)),
      request_(std::move(request)),
      ticket_(std::move(ticket)) {}

std::optional<ValidRequest> Call::BeginPreparing() {
  absl::MutexLock lock(&mutex_);
  if (ended_) return std::nullopt;
  PARROT_CHECK(phase_ == Phase::kQueued);
  phase_ = Phase::kPreparing;
  return std::exchange(request_, std::nullopt);
}

bool Call::BeginEngine(const PreparedPrompt& prompt,
                       const Tokenizer& tokenizer,
                       const EngineStart& start) {
  absl::MutexLock lock(&mutex_);
  if (ended_) return false;
  PARROT_CHECK(phase_ == Phase::kPreparing);
  phase_ = Phase::kEngine;
  usage_.image_tokens = prompt.num_image_tokens;
  usage_.text_tokens = prompt.num_text_tokens;
  for (const PlacedImage& image : prompt.images) {
    const RoutingMode routed =
        prompt.pin_first_turn ? RoutingMode::kPinFirstTurn : RoutingMode::kExact;
    const bool is_given = image.routing == RoutingSource::kWeights;
    routing_modes_.push_back(is_given ? RoutingMode::kWeights : routed);
  }
  timings_.tokenize = prompt.tokenize;
  timings_.decode_image = prompt.decode_image;
  timings_.preprocess = prompt.preprocess;
  tokenizer_ = &tokenizer;
  wants_logprobs_ = start.wants_logprobs;
  choices_ = start.choices;
  num_unfinished_ = start.num_outputs;
  outputs_.reserve(static_cast<size_t>(start.num_outputs));
  for (int32_t i = 0; i < start.num_outputs; ++i) {
    outputs_.push_back({.text = OutputText(tokenizer, start.stop)});
  }
  ticket_->Shrink(start.pixel_bytes);
  return true;
}

void Call::Leave() {
  absl::MutexLock lock(&mutex_);
  PARROT_CHECK(phase_ == Phase::kPreparing || phase_ == Phase::kEngine);
  phase_ = Phase::kLeft;
}

std::optional<Call::Ending> Call::TryEnd() {
  absl::MutexLock lock(&mutex_);
  if (ended_) return std::nullopt;
  ended_ = true;
  Ending ending{.in_engine = phase_ == Phase::kEngine};
  switch (phase_) {
    case Phase::kQueued:
      request_.reset();
      phase_ = Phase::kLeft;
      break;
    case Phase::kPreparing:
      // The thread that prepares it sees the end at its next look, and drops it.
      ending.stage = CancelStage::kPreprocess;
      break;
    case Phase::kEngine:
    case Phase::kLeft:
      ending.stage = has_token_ ? CancelStage::kDecode : CancelStage::kEngine;
      break;
  }
  return ending;
}

bool Call::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

bool Call::in_engine() const {
  absl::MutexLock lock(&mutex_);
  return phase_ == Phase::kEngine;
}

bool Call::finished() const {
  absl::MutexLock lock(&mutex_);
  return ended_ && phase_ == Phase::kLeft;
}

void Call::ReleaseTicket() {
  std::unique_ptr<Admission::Ticket> ticket;  // destroyed without the lock
  absl::MutexLock lock(&mutex_);
  ticket = std::move(ticket_);
}

void Call::AddRouting(ImageRouting routing) {
  absl::MutexLock lock(&mutex_);
  routing.mode = routing_modes_.at(routing.image_idx);
  routing_.push_back(std::move(routing));
}

std::vector<ImageRouting> Call::routing() const {
  absl::MutexLock lock(&mutex_);
  return routing_;
}

PromptTokenLogprobs Call::Score(const PromptLogprobEvent& event) const {
  absl::MutexLock lock(&mutex_);
  return {.position = event.position, .logprobs = ScoreEvent(event, *tokenizer_)};
}

Call::Taken Call::TakeToken(const TokenEvent& event, absl::Time at, Clock& clock) {
  absl::MutexLock lock(&mutex_);
  Output& output = outputs_.at(event.sequence_idx);
  Taken taken;
  if (output.text.stopped()) return taken;  // drawn before the engine heard of it
  taken.first_token = !std::exchange(has_token_, true);
  if (output.last_token == absl::InfinitePast()) {
    output.time_to_first_token = at - facts_.arrival;
  } else {
    taken.since_last_token = at - output.last_token;
  }
  output.last_token = at;
  const absl::Time start = clock.Now();
  if (!choices_.empty()) {
    output.token_ids.push_back(event.token);
    output.logprob += event.logprob;
    return taken;
  }
  std::optional<TokenLogprobs> logprobs;
  if (wants_logprobs_) logprobs = ScoreEvent(event, *tokenizer_);
  taken.piece = output.text.Append(event.token, std::move(logprobs), event.is_blocked);
  taken.stopped = output.text.stopped();
  output.detokenize += clock.Now() - start;
  return taken;
}

Call::FinishedOutput Call::FinishOutput(const FinishEvent& event, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Output& output = outputs_.at(event.sequence_idx);
  PARROT_CHECK(phase_ == Phase::kEngine && !output.finished);
  output.finished = true;
  FinishedOutput result;
  result.is_last = --num_unfinished_ == 0;
  if (result.is_last) phase_ = Phase::kLeft;
  result.tail = output.text.Finish();
  OutputFinishedEvent& finished = result.event;
  finished = {.output_idx = event.sequence_idx,
              .reason = event.reason,
              .stop_token = event.stop_token,
              .usage = usage_,
              .timings = timings_,
              .routing = routing_};
  if (output.text.stopped()) {
    // Whatever ended it in the engine came after that.
    finished.reason = FinishReason::kStop;
    finished.stop_token = -1;
    finished.stop_text = output.text.stop_text();
  }
  finished.usage.completion_tokens = output.text.num_tokens();
  finished.usage.blocked_tokens = output.text.num_blocked();
  finished.usage.cached_tokens = event.num_cached_tokens;
  finished.timings.time_to_first_token = output.time_to_first_token;
  finished.timings.detokenize = output.detokenize;
  finished.timings.total = now - facts_.arrival;
  finished.timings.queue = event.times.queue;
  finished.timings.prefill = event.times.prefill;
  finished.timings.decode = event.times.decode;
  finished.timings.clip = event.times.stages[Stage::kClip];
  finished.timings.projector = event.times.stages[Stage::kProjector];
  finished.timings.router = event.times.stages[Stage::kRouter];
  finished.timings.experts = event.times.stages[Stage::kExperts];
  if (choices_.empty()) return result;
  output.logprob += event.stop_logprob;
  finished.output_idx = 0;
  result.is_hidden = !result.is_last;
  if (result.is_last && event.reason == FinishReason::kStop) Choose(result);
  return result;
}

void Call::Choose(FinishedOutput& result) const {
  size_t best = 0;
  double total = 0.0;
  for (size_t i = 1; i < outputs_.size(); ++i) {
    if (outputs_[i].logprob > outputs_[best].logprob) best = i;
  }
  for (const Output& output : outputs_) total += std::exp(output.logprob - outputs_[best].logprob);
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const double share = std::exp(outputs_[i].logprob - outputs_[best].logprob) / total;
    result.event.choices.push_back({.text = choices_[i],
                                    .probability = static_cast<float>(share),
                                    .logprob = static_cast<float>(outputs_[i].logprob)});
  }
  result.tail = {.text = choices_[best], .token_ids = outputs_[best].token_ids};
  result.event.usage.completion_tokens = static_cast<int32_t>(outputs_[best].token_ids.size());
}

OutputFinishedEvent Call::MakeFinish(FinishReason reason, absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  OutputFinishedEvent finished{
      .reason = reason, .usage = usage_, .timings = timings_, .routing = routing_};
  finished.timings.total = now - facts_.arrival;
  for (const Output& output : outputs_) {
    finished.usage.completion_tokens += output.text.num_tokens();
    finished.usage.blocked_tokens += output.text.num_blocked();
    finished.timings.detokenize += output.detokenize;
  }
  if (!outputs_.empty()) finished.timings.time_to_first_token = outputs_[0].time_to_first_token;
  return finished;
}

int32_t Call::num_completion_tokens() const {
  absl::MutexLock lock(&mutex_);
  int32_t count = 0;
  for (const Output& output : outputs_) {
    count +=
        choices_.empty() ? output.text.num_tokens() : static_cast<int32_t>(output.token_ids.size());
  }
  return count;
}

int32_t Call::num_blocked_tokens() const {
  absl::MutexLock lock(&mutex_);
  int32_t count = 0;
  for (const Output& output : outputs_) count += output.text.num_blocked();
  return count;
}

Usage Call::prompt_usage() const {
  absl::MutexLock lock(&mutex_);
  return {.text_tokens = usage_.text_tokens, .image_tokens = usage_.image_tokens};
}

}  // namespace parrot
