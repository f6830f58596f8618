#include "server/frontend/frontend.h"

#include <array>
#include <utility>

#include "absl/synchronization/notification.h"
#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/image/clip_image_processor.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "server/frontend/call_runner.h"
#include "server/frontend/prompt_builder.h"
#include "server/frontend/validator.h"

namespace parrot {
namespace {

// How long Drain waits for the engine to give back what it ended by force.
constexpr absl::Duration kEndGrace = absl::Seconds(2);

// A picture of one grey pixel, for the warm-up.
constexpr std::array<unsigned char, 69> kWarmUpPng = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
    0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x02, 0x00, 0x00,
    0x00, 0x90, 0x77, 0x53, 0xde, 0x00, 0x00, 0x00, 0x0c, 0x49, 0x44, 0x41, 0x54, 0x78,
    0xda, 0x63, 0xa8, 0xaf, 0xaf, 0x07, 0x00, 0x02, 0xfe, 0x01, 0x7e, 0x84, 0xd8, 0xa3,
    0x89, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

absl::Status ShuttingDown() {
  return ErrorStatus(absl::StatusCode::kUnavailable,
                     "the server is shutting down",
                     {.reason = "DRAINING", .retry_after = absl::Seconds(1)});
}

int32_t NumExperts(const ModelConfig& model) {
  return model.moe.enabled ? model.moe.num_experts : 0;
}

ValidatorOptions MakeValidatorOptions(const FrontendOptions& options, const Tokenizer& tokenizer) {
  return {.limits = options.limits,
          .served_names = options.served_names,
          .vocab_size = tokenizer.num_tokens(),
          .num_experts = NumExperts(options.model),
          .default_seed = options.default_seed,
          .has_image_store = options.capacity.image_store_bytes > 0};
}

MetricsOptions MakeMetricsOptions(const FrontendOptions& options) {
  PARROT_CHECK(!options.served_names.empty());
  return {.server_version = options.server_version,
          .model_name = options.served_names.front(),
          .model_revision = options.model.revision,
          .device = options.device,
          .dtype = options.dtype,
          .backend = options.backend,
          .num_experts = NumExperts(options.model),
          .block_size = options.block_size,
          .num_blocks = options.num_blocks,
          .caches_experts = options.caches_experts,
          .limits = options.limits,
          .with_vllm_names = options.with_vllm_metrics};
}

CallRunner::Options MakeRunnerOptions(const FrontendOptions& options, const Tokenizer& tokenizer) {
  const int64_t side = options.model.vision.image_size;
  const TokenId eos = options.model.eos_token_id;
  return {.limits = options.limits,
          .capacity = options.capacity,
          .max_engine_queue = options.max_engine_queue,
          .eos_token_id = eos >= 0 ? eos : tokenizer.im_end_id(),
          .bytes_per_image = 3 * side * side,
          .tokens_per_image = options.model.vision.num_tokens()};
}

GenerateSpec WarmUpSpec(bool with_image) {
  MessageSpec message{.role = RoleSpec::kUser};
  if (with_image) {
    ImageSpec image{.source = ImageSpec::Source::kBytes};
    image.data.assign(reinterpret_cast<const char*>(kWarmUpPng.data()), kWarmUpPng.size());
    message.parts.emplace_back(std::move(image));
  }
  message.parts.emplace_back(TextSpec{"Hello"});
  GenerateSpec spec;
  spec.messages.push_back(std::move(message));
  spec.stop.max_tokens = 2;
  return spec;
}

}  // namespace

class Frontend::Impl {
 public:
  Impl(const FrontendOptions& options, const FrontendModels& models, Clock& clock)
      : options_(options),
        tokenizer_(*models.tokenizer),
        clock_(clock),
        validator_(MakeValidatorOptions(options, tokenizer_)),
        image_store_(options.capacity.image_store_bytes),
        image_intake_(*models.image_processor, image_store_, clock),
        prompt_builder_({.max_prompt_tokens = options.limits.max_model_len,
                         .tokens_per_image = options.model.vision.num_tokens()},
                        *models.chat_template,
                        image_intake_,
                        clock),
        metrics_(MakeMetricsOptions(options), &clock),
        runner_(MakeRunnerOptions(options, tokenizer_),
                {.tokenizer = tokenizer_,
                 .validator = validator_,
                 .prompt_builder = prompt_builder_,
                 .image_intake = image_intake_,
                 .lifecycle = lifecycle_,
                 .metrics = metrics_,
                 .clock = clock}) {
    metrics_.SetLoadSource([this] { return runner_.Load(); });
    metrics_.SetWorkersSource([this] { return runner_.WorkerLoads(); });
    metrics_.SetStateSource([this] { return lifecycle_.state(); });
    metrics_.SetImageStoreSource([this] { return image_store_.stats(); });
    metrics_.SetFrontendSource(
        [this] { return std::make_pair(int64_t{runner_.calls().size()}, runner_.image_bytes()); });
  }

  // Counts a refusal that happens outside the runner, and hands it on.
  absl::Status Refuse(absl::Status status) const {
    metrics_.CountRejected(GetErrorFacts(status).reason);
    return status;
  }

  const FrontendOptions options_;
  const Tokenizer& tokenizer_;
  Clock& clock_;
  const Validator validator_;
  ImageStore image_store_;
  const ImageIntake image_intake_;
  const PromptBuilder prompt_builder_;
  Lifecycle lifecycle_;
  mutable Metrics metrics_;
  CallRunner runner_;
};

Frontend::Frontend(const FrontendOptions& options, const FrontendModels& models, Clock* clock)
    : impl_(std::make_unique<Impl>(options, models, *clock)) {}
Frontend::~Frontend() { Stop(); }

EventSink* Frontend::event_sink() { return &impl_->runner_.event_sink(); }
void Frontend::Start(EngineClient engine) { impl_->runner_.Start(std::move(engine)); }

void Frontend::Stop() {
  impl_->lifecycle_.Set(ServerState::kDraining);
  impl_->runner_.EndAll(ShuttingDown());
  impl_->runner_.Stop();
}

absl::Status Frontend::WarmUp(absl::Duration timeout) {
  struct Wait {
    absl::Notification done;
  };
  auto wait = std::make_shared<Wait>();  // and the stream's callback, which may come late
  auto stream = std::make_shared<ResponseStream>(
      ResponseStreamOptions{.mode = StreamMode::kWhole, .clock = &impl_->clock_},
      [wait](ReadyReason) {
        if (!wait->done.HasBeenNotified()) wait->done.Notify();
      });
  GenerateSpec spec = WarmUpSpec(impl_->options_.limits.max_images > 0);
  spec.deadline = impl_->clock_.Now() + timeout;
  impl_->metrics_.SetWarmingUp(true);
  const RequestKey key = impl_->runner_.Submit(std::move(spec),
                                               Identity{},
                                               stream,
                                               /*warm_up=*/true);
  const bool in_time = wait->done.WaitForNotificationWithTimeout(timeout);
  impl_->image_store_.Clear();
  impl_->metrics_.SetWarmingUp(false);
  if (!in_time) {
    Cancel(key);
    return absl::DeadlineExceededError("the warm-up request did not finish in time");
  }
  absl::Status status = absl::UnknownError("the warm-up request has no end");
  while (std::optional<AnswerEvent> event = stream->Take()) {
    if (const auto* end = std::get_if<EndEvent>(&*event)) status = end->status;
  }
  return status;
}

RequestKey Frontend::Submit(GenerateSpec spec,
                            const Identity& identity,
                            const std::shared_ptr<ResponseStream>& stream) {
  return impl_->runner_.Submit(std::move(spec), identity, stream, /*warm_up=*/false);
}

void Frontend::Cancel(RequestKey key) { impl_->runner_.Cancel(key); }

absl::StatusOr<TokenizeResult> Frontend::Tokenize(const std::optional<std::string>& model,
                                                  std::string_view text) const {
  absl::StatusOr<std::string> name = impl_->validator_.ResolveModel(model);
  if (!name.ok()) return impl_->Refuse(name.status());
  const absl::Status valid = impl_->validator_.ValidateText(text);
  if (!valid.ok()) return impl_->Refuse(valid);
  absl::StatusOr<std::vector<TokenId>> ids = impl_->tokenizer_.Encode(text);
  if (!ids.ok()) return impl_->Refuse(WithField(ids.status(), "text"));
  return TokenizeResult{.model = *std::move(name), .token_ids = *std::move(ids)};
}

absl::StatusOr<CountTokensResult> Frontend::CountTokens(GenerateSpec spec) const {
  // Only what shapes the prompt is judged and counted.
  GenerateSpec prompt;
  prompt.model = std::move(spec.model);
  prompt.messages = std::move(spec.messages);
  prompt.generation_prefix = std::move(spec.generation_prefix);
  prompt.placement = spec.placement;
  absl::StatusOr<ValidRequest> request = impl_->validator_.Validate(std::move(prompt));
  if (!request.ok()) return impl_->Refuse(request.status());
  CountTokensResult result{.model = request->model,
                           .max_model_len = impl_->options_.limits.max_model_len};
  const absl::StatusOr<PromptBuilder::TokenCounts> counts =
      impl_->prompt_builder_.Count(*std::move(request));
  if (!counts.ok()) return impl_->Refuse(counts.status());
  result.usage = {.text_tokens = counts->text_tokens, .image_tokens = counts->image_tokens};
  return result;
}

absl::StatusOr<ModelInfo> Frontend::GetModelInfo(const std::optional<std::string>& model) const {
  absl::StatusOr<std::string> name = impl_->validator_.ResolveModel(model);
  if (!name.ok()) return impl_->Refuse(name.status());
  const FrontendOptions& options = impl_->options_;
  return ModelInfo{.model = *std::move(name),
                   .served_names = options.served_names,
                   .server_version = options.server_version,
                   .model_revision = options.model.revision,
                   .languages = options.languages,
                   .image_tokens = options.model.vision.num_tokens(),
                   .image_size = options.model.vision.image_size,
                   .num_experts = NumExperts(options.model),
                   .vocab_size = impl_->tokenizer_.num_tokens(),
                   .num_layers = options.model.language.num_layers,
                   .hidden_size = options.model.language.hidden_size,
                   .num_parameters = options.num_parameters,
                   .dtype = options.dtype,
                   .device = options.device,
                   .limits = options.limits,
                   .unsupported_options = impl_->validator_.UnsupportedOptions()};
}

std::shared_ptr<ImageUpload> Frontend::PutImage(PutImageSpec spec,
                                                const Identity& identity,
                                                ImageUpload::Done done) {
  return impl_->runner_.uploads().Submit(std::move(spec), identity, std::move(done));
}

void Frontend::CancelPutImage(ImageUpload& upload) { impl_->runner_.uploads().Cancel(upload); }

absl::StatusOr<Frontend::HasImagesResult> Frontend::HasImages(
    const std::optional<std::string>& model,
    const std::vector<std::string>& digests,
    const Identity& identity) const {
  absl::StatusOr<std::string> name = impl_->validator_.ResolveModel(model);
  if (!name.ok()) return impl_->Refuse(name.status());
  const absl::StatusOr<std::vector<Sha256Digest>> parsed =
      impl_->validator_.ValidateDigests(digests);
  if (!parsed.ok()) return impl_->Refuse(parsed.status());
  HasImagesResult result{.model = *std::move(name)};
  result.present.reserve(parsed->size());
  for (const Sha256Digest& digest : *parsed) {
    result.present.push_back(impl_->image_store_.Touch(identity.tenant, digest));
  }
  return result;
}

void Frontend::CountRejected(const absl::Status& status) {
  impl_->metrics_.CountRejected(GetErrorFacts(status).reason);
}

Lifecycle& Frontend::lifecycle() { return impl_->lifecycle_; }
Metrics& Frontend::metrics() { return impl_->metrics_; }
EngineLoad Frontend::load() const { return impl_->runner_.Load(); }
std::vector<EngineLoad> Frontend::worker_loads() const { return impl_->runner_.WorkerLoads(); }

int32_t Frontend::Abort(std::string_view request_id) { return impl_->runner_.Abort(request_id); }
void Frontend::Pause() { impl_->runner_.Pause(); }
void Frontend::Resume() { impl_->runner_.Resume(); }
void Frontend::FlushCache() {
  impl_->runner_.FlushCache();
  impl_->image_store_.Clear();
}

bool Frontend::Drain(absl::Duration timeout) {
  impl_->lifecycle_.Set(ServerState::kDraining);
  impl_->runner_.Resume();
  if (impl_->runner_.calls().WaitUntilRead(timeout)) return true;
  impl_->runner_.EndAll(ShuttingDown());
  impl_->runner_.calls().WaitUntilEmpty(kEndGrace);
  return false;
}

int32_t Frontend::live_requests() const { return impl_->runner_.calls().size(); }
int64_t Frontend::image_bytes() const { return impl_->runner_.image_bytes(); }
ImageStore::Stats Frontend::image_store() const { return impl_->image_store_.stats(); }

bool Frontend::WaitUntilIdle(absl::Duration timeout) {
  return impl_->runner_.calls().WaitUntilEmpty(timeout);
}

void Frontend::CheckTimers() { impl_->runner_.CheckTimers(); }

}  // namespace parrot
