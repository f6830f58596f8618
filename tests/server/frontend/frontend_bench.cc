#include "tests/server/frontend/frontend_bench.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "base/check.h"
#include "model/weights/checkpoint.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace

StreamReader::StreamReader(Clock* clock, StreamMode mode) : state_(std::make_shared<State>()) {
  // The callback needs the stream, which exists only afterwards; it is called from Submit on.
  auto self = std::make_shared<std::weak_ptr<ResponseStream>>();
  stream_ = std::make_shared<ResponseStream>(
      ResponseStreamOptions{.mode = mode, .clock = clock}, [self, state = state_](ReadyReason) {
        const std::shared_ptr<ResponseStream> stream = self->lock();
        if (stream == nullptr) return;
        // Until the stream has nothing more: who waits here finds a reader that waits for events.
        absl::MutexLock lock(&state->mutex);
        while (std::optional<AnswerEvent> event = stream->Take()) {
          if (const auto* delta = std::get_if<DeltaEvent>(&*event)) {
            state->text_bytes += delta->piece.text.size();
          }
          state->ended = state->ended || std::holds_alternative<EndEvent>(*event);
          state->events.push_back(*std::move(event));
        }
      });
  *self = stream_;
}

bool StreamReader::WaitForEnd() {
  absl::MutexLock lock(&state_->mutex);
  return state_->mutex.AwaitWithTimeout(absl::Condition(&state_->ended), kPatience);
}

bool StreamReader::WaitForText(size_t num_bytes) {
  absl::MutexLock lock(&state_->mutex);
  const auto enough = [this, num_bytes]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return state_->ended || state_->text_bytes >= num_bytes;
  };
  return state_->mutex.AwaitWithTimeout(absl::Condition(&enough), kPatience);
}

std::vector<AnswerEvent> StreamReader::events() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->events;
}

std::string StreamReader::text(int32_t output_idx) const {
  std::string text;
  for (const AnswerEvent& event : events()) {
    const auto* delta = std::get_if<DeltaEvent>(&event);
    if (delta != nullptr && delta->output_idx == output_idx) text += delta->piece.text;
  }
  return text;
}

std::vector<TokenId> StreamReader::token_ids(int32_t output_idx) const {
  std::vector<TokenId> ids;
  for (const AnswerEvent& event : events()) {
    const auto* delta = std::get_if<DeltaEvent>(&event);
    if (delta == nullptr || delta->output_idx != output_idx) continue;
    ids.insert(ids.end(), delta->piece.token_ids.begin(), delta->piece.token_ids.end());
  }
  return ids;
}

std::vector<TokenLogprobs> StreamReader::logprobs(int32_t output_idx) const {
  std::vector<TokenLogprobs> all;
  for (const AnswerEvent& event : events()) {
    const auto* delta = std::get_if<DeltaEvent>(&event);
    if (delta == nullptr || delta->output_idx != output_idx) continue;
    all.insert(all.end(), delta->piece.logprobs.begin(), delta->piece.logprobs.end());
  }
  return all;
}

OutputFinishedEvent StreamReader::finished(int32_t output_idx) const {
  std::vector<OutputFinishedEvent> found;
  for (const AnswerEvent& event : events()) {
    const auto* finished = std::get_if<OutputFinishedEvent>(&event);
    if (finished != nullptr && finished->output_idx == output_idx) found.push_back(*finished);
  }
  PARROT_CHECK(found.size() == 1);
  return found.front();
}

int StreamReader::num_finished() const {
  const std::vector<AnswerEvent> all = events();
  return static_cast<int>(std::count_if(all.begin(), all.end(), [](const AnswerEvent& event) {
    return std::holds_alternative<OutputFinishedEvent>(event);
  }));
}

int StreamReader::num_ends() const {
  const std::vector<AnswerEvent> all = events();
  return static_cast<int>(std::count_if(all.begin(), all.end(), [](const AnswerEvent& event) {
    return std::holds_alternative<EndEvent>(event);
  }));
}

absl::Status StreamReader::status() const {
  const std::vector<AnswerEvent> all = events();
  if (all.empty()) return absl::UnknownError("nothing was read");
  const auto* end = std::get_if<EndEvent>(&all.back());
  return end == nullptr ? absl::UnknownError("no end was read") : end->status;
}

EngineClient ScriptedEngine::client() {
  return {.add = [this](std::shared_ptr<const Request> request) { return Add(std::move(request)); },
          .cancel = [this](RequestKey key) { Cancel(key); },
          .cancel_sequence = [this](RequestKey key,
                                    int32_t sequence_idx) { CancelSequence(key, sequence_idx); },
          .load =
              [this] {
                absl::MutexLock lock(&mutex_);
                return load_;
              },
          .worker_loads =
              [this] {
                absl::MutexLock lock(&mutex_);
                return std::vector<EngineLoad>{load_};
              },
          .pause = [this] { Note("pause"); },
          .resume = [this] { Note("resume"); },
          .flush_cache = [this] { Note("flush_cache"); }};
}

absl::Status ScriptedEngine::Add(std::shared_ptr<const Request> request) {
  std::function<void(RequestKey)> hook;
  {
    absl::MutexLock lock(&mutex_);
    hook = add_hook_;
  }
  if (hook != nullptr) hook(request->key);
  absl::MutexLock lock(&mutex_);
  if (!refusal_.ok()) return refusal_;
  for (int32_t i = 0; i < request->num_sequences; ++i) live_.emplace_back(request->key, i);
  added_.push_back(std::move(request));
  return absl::OkStatus();
}

void ScriptedEngine::Cancel(RequestKey key) {
  std::vector<int32_t> answered;
  {
    absl::MutexLock lock(&mutex_);
    cancels_.push_back(key);
    for (const auto& [live, sequence_idx] : live_) {
      if (answer_cancels_ && live == key) answered.push_back(sequence_idx);
    }
  }
  for (const int32_t sequence_idx : answered) {
    Finish(key, FinishReason::kCancelled, absl::OkStatus(), sequence_idx);
  }
}

void ScriptedEngine::CancelSequence(RequestKey key, int32_t sequence_idx) {
  bool answer = false;
  {
    absl::MutexLock lock(&mutex_);
    sequence_cancels_.emplace_back(key, sequence_idx);
    answer = answer_cancels_;
  }
  if (answer) Finish(key, FinishReason::kCancelled, absl::OkStatus(), sequence_idx);
}

void ScriptedEngine::Note(const std::string& command) {
  absl::MutexLock lock(&mutex_);
  commands_.push_back(command);
}

std::vector<std::string> ScriptedEngine::commands() const {
  absl::MutexLock lock(&mutex_);
  return commands_;
}

void ScriptedEngine::RefuseWith(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  refusal_ = std::move(status);
}

void ScriptedEngine::SetAddHook(std::function<void(RequestKey)> hook) {
  absl::MutexLock lock(&mutex_);
  add_hook_ = std::move(hook);
}

void ScriptedEngine::SetLoad(const EngineLoad& load) {
  absl::MutexLock lock(&mutex_);
  load_ = load;
}

void ScriptedEngine::SetAnswerCancels(bool answer) {
  absl::MutexLock lock(&mutex_);
  answer_cancels_ = answer;
}

std::shared_ptr<const Request> ScriptedEngine::WaitForRequest(int num_added) {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, num_added]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return added_.size() >= static_cast<size_t>(num_added);
  };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&enough), kPatience)) return nullptr;
  return added_.back();
}

std::vector<RequestKey> ScriptedEngine::cancels() const {
  absl::MutexLock lock(&mutex_);
  return cancels_;
}

std::vector<std::pair<RequestKey, int32_t>> ScriptedEngine::sequence_cancels() const {
  absl::MutexLock lock(&mutex_);
  return sequence_cancels_;
}

int ScriptedEngine::num_added() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(added_.size());
}

void ScriptedEngine::Send(EngineEvent event) {
  std::vector<EngineEvent> events;
  events.push_back(std::move(event));
  sink_.OnEvents(events);
}

void ScriptedEngine::Token(RequestKey key, TokenId token, int32_t sequence_idx) {
  Send(TokenEvent{.key = key, .sequence_idx = sequence_idx, .token = token});
}

void ScriptedEngine::Token(TokenEvent event) { Send(std::move(event)); }

void ScriptedEngine::PromptLogprob(PromptLogprobEvent event) { Send(std::move(event)); }

void ScriptedEngine::Routing(RequestKey key,
                             int32_t image_idx,
                             std::vector<float> weights,
                             CacheLevel cache_level) {
  Send(RoutingEvent{.key = key,
                    .image_idx = image_idx,
                    .weights = std::move(weights),
                    .cache_level = cache_level});
}

void ScriptedEngine::Finish(RequestKey key,
                            FinishReason reason,
                            absl::Status status,
                            int32_t sequence_idx) {
  if (!TakeLive(key, sequence_idx)) return;
  FinishEvent finish{
      .key = key, .sequence_idx = sequence_idx, .reason = reason, .status = std::move(status)};
  finish.times.queue = absl::Milliseconds(1);
  finish.times.prefill = absl::Milliseconds(2);
  finish.times.decode = absl::Milliseconds(3);
  finish.times.stages[Stage::kClip] = absl::Milliseconds(4);
  Send(std::move(finish));
}

void ScriptedEngine::FinishChoice(RequestKey key,
                                  int32_t sequence_idx,
                                  TokenId stop_token,
                                  float stop_logprob) {
  if (!TakeLive(key, sequence_idx)) return;
  Send(FinishEvent{.key = key,
                   .sequence_idx = sequence_idx,
                   .reason = FinishReason::kStop,
                   .stop_token = stop_token,
                   .stop_logprob = stop_logprob});
}

bool ScriptedEngine::TakeLive(RequestKey key, int32_t sequence_idx) {
  absl::MutexLock lock(&mutex_);
  const auto it = std::find(live_.begin(), live_.end(), std::pair(key, sequence_idx));
  if (it == live_.end()) return false;
  live_.erase(it);
  return true;
}

const NanoModel& NanoModel::Get() {
  static const NanoModel model = [] {
    const std::string dir = GoldenPath("checkpoints/nano-gqa");
    NanoModel made;
    absl::StatusOr<ModelConfig> config = LoadModelConfig(dir);
    PARROT_CHECK(config.ok()) << config.status().ToString();
    made.config = *std::move(config);
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(dir);
    PARROT_CHECK(tokenizer.ok()) << tokenizer.status().ToString();
    made.tokenizer = *std::move(tokenizer);
    made.chat_template = std::make_unique<ChatTemplate>(*made.tokenizer);
    made.image_processor = std::make_unique<ClipImageProcessor>(
        made.config.image_processor, made.config.vision.image_size, DecodeOptions{});
    return made;
  }();
  return model;
}

FrontendOptions NanoOptions() {
  FrontendOptions options;
  options.model = NanoModel::Get().config;
  options.served_names = {"parrot", "parrot-nano"};
  options.server_version = "1.2.3";
  options.device = "cpu";
  options.dtype = "float32";
  return options;
}

FrontendBench::FrontendBench(FrontendOptions options, Clock* clock) : clock_(*clock) {
  const NanoModel& model = NanoModel::Get();
  frontend_ = std::make_unique<Frontend>(
      options,
      FrontendModels{model.tokenizer.get(), model.chat_template.get(), model.image_processor.get()},
      clock);
  engine_ = std::make_unique<ScriptedEngine>(frontend_->event_sink());
  frontend_->Start(engine_->client());
  frontend_->lifecycle().Set(ServerState::kReady);
}

FrontendBench::~FrontendBench() {
  engine_->SetAddHook(nullptr);
  frontend_->Stop();
}

absl::Status FrontendBench::Run(GenerateSpec spec) {
  StreamReader reader(&clock_);
  const RequestKey key = frontend_->Submit(std::move(spec), Identity{}, reader.stream());
  if (!reader.WaitForEnd()) {
    frontend_->Cancel(key);
    return absl::UnknownError("no end in time");
  }
  return reader.status();
}

GenerateSpec TextRequest(std::string_view text) {
  GenerateSpec spec;
  MessageSpec message{.role = RoleSpec::kUser};
  message.parts.emplace_back(TextSpec{std::string(text)});
  spec.messages.push_back(std::move(message));
  return spec;
}

GenerateSpec ImageRequest(std::string image, std::string_view text) {
  GenerateSpec spec = TextRequest(text);
  ImageSpec part{.source = ImageSpec::Source::kBytes, .data = std::move(image)};
  spec.messages[0].parts.emplace_back(std::move(part));
  std::swap(spec.messages[0].parts.front(), spec.messages[0].parts.back());
  return spec;
}

std::string SmallJpeg() { return ReadGoldenFile("images/files/jpeg_17x3.jpg"); }

}  // namespace parrot
