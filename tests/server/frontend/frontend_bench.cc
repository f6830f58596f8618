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
        while (std::optional<AnswerEvent> event = stream->Take()) {
          absl::MutexLock lock(&state->mutex);
          if (const auto* delta = std::get_if<DeltaEvent>(&*event)) {
            state->text_bytes += delta->text.size();
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

std::string StreamReader::text() const {
  std::string text;
  for (const AnswerEvent& event : events()) {
    if (const auto* delta = std::get_if<DeltaEvent>(&event)) text += delta->text;
  }
  return text;
}

std::vector<TokenId> StreamReader::token_ids() const {
  std::vector<TokenId> ids;
  for (const AnswerEvent& event : events()) {
    const auto* delta = std::get_if<DeltaEvent>(&event);
    if (delta != nullptr) ids.insert(ids.end(), delta->token_ids.begin(), delta->token_ids.end());
  }
  return ids;
}

OutputFinishedEvent StreamReader::finished() const {
  PARROT_CHECK(num_finished() == 1);
  for (const AnswerEvent& event : events()) {
    if (const auto* finished = std::get_if<OutputFinishedEvent>(&event)) return *finished;
  }
  return {};
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
          .load =
              [this] {
                absl::MutexLock lock(&mutex_);
                return load_;
              }};
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
  live_.push_back(request->key);
  added_.push_back(std::move(request));
  return absl::OkStatus();
}

void ScriptedEngine::Cancel(RequestKey key) {
  bool answer = false;
  {
    absl::MutexLock lock(&mutex_);
    cancels_.push_back(key);
    answer = answer_cancels_ && std::find(live_.begin(), live_.end(), key) != live_.end();
  }
  if (answer) Finish(key, FinishReason::kCancelled);
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

int ScriptedEngine::num_added() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(added_.size());
}

void ScriptedEngine::Send(EngineEvent event) {
  std::vector<EngineEvent> events;
  events.push_back(std::move(event));
  sink_.OnEvents(events);
}

void ScriptedEngine::Token(RequestKey key, TokenId token) {
  Send(TokenEvent{.key = key, .token = token});
}

void ScriptedEngine::Routing(RequestKey key, int32_t image_idx, std::vector<float> weights) {
  Send(RoutingEvent{.key = key, .image_idx = image_idx, .weights = std::move(weights)});
}

void ScriptedEngine::Finish(RequestKey key, FinishReason reason, absl::Status status) {
  {
    absl::MutexLock lock(&mutex_);
    const auto it = std::find(live_.begin(), live_.end(), key);
    if (it == live_.end()) return;  // said before
    live_.erase(it);
  }
  FinishEvent finish{.key = key, .reason = reason, .status = std::move(status)};
  finish.times.queue = absl::Milliseconds(1);
  finish.times.prefill = absl::Milliseconds(2);
  finish.times.decode = absl::Milliseconds(3);
  finish.times.stages[Stage::kClip] = absl::Milliseconds(4);
  Send(std::move(finish));
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
  spec.messages[0].parts.insert(spec.messages[0].parts.begin(), std::move(part));
  return spec;
}

std::string SmallJpeg() { return ReadGoldenFile("images/files/jpeg_17x3.jpg"); }

}  // namespace parrot
