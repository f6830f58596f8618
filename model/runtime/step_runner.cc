#include "model/runtime/step_runner.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/linalg_vector_norm.h"
#include "ATen/ops/zeros.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/runtime/device.h"
#include "model/runtime/stage_timer.h"

namespace parrot {
namespace {

absl::Status MissingFeatures() {
  return ErrorStatus(absl::StatusCode::kFailedPrecondition,
                     "the image's features are not there",
                     {.reason = "IMAGE_NOT_ENCODED"});
}

// [n] of any float dtype and device -> host floats.
std::vector<float> ToFloats(const at::Tensor& tensor) {
  const at::Tensor host = tensor.to(at::kCPU, at::kFloat).contiguous();
  const float* data = host.const_data_ptr<float>();
  return std::vector<float>(data, data + host.numel());
}

void RememberTokens(const StepInput& input, const Span& span, SlotState* slot) {
  if (span.source != TokenSource::kHost) return;  // known since it was drawn
  for (int32_t i = 0; i < span.num_tokens; ++i) {
    slot->SetToken(span.start_position + i, input.token_ids[span.token_offset + i]);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepRunner>> StepRunner::Create(const ModelWeights& weights,
                                                               const ModelRunnerOptions& options) {
  ASSIGN_OR_RETURN(
      std::unique_ptr<KvCache> kv_cache,
      KvCache::Create(weights.model(), options.kv_cache_memory_bytes, options.block_size));
  return std::unique_ptr<StepRunner>(new StepRunner(weights, options, std::move(kv_cache)));
}

StepRunner::StepRunner(const ModelWeights& weights,
                       const ModelRunnerOptions& options,
                       std::unique_ptr<KvCache> kv_cache)
    : weights_(weights),
      backend_(weights.backend()),
      model_(weights.model()),
      isolate_(backend_.device().is_cpu() && !backend_.rows_are_independent() &&
               !options.compute_together),
      kv_cache_(std::move(kv_cache)),
      slots_(options.max_num_seqs),
      max_score_logits_bytes_(options.max_score_logits_bytes),
      token_scripts_(options.token_scripts),
      sampler_(backend_,
               options.vocab_size > 0 ? options.vocab_size : weights.config().language.vocab_rows,
               token_scripts_.get()) {
  const ModelConfig& config = weights.config();
  capacity_ = {.num_blocks = kv_cache_->num_blocks(),
               .block_size = kv_cache_->block_size(),
               .max_slots = options.max_num_seqs,
               .max_step_tokens = options.max_num_batched_tokens,
               .max_step_images = options.max_images_per_step,
               .max_steps_in_flight = 1,
               .image_tokens = config.vision.num_tokens(),
               .num_experts = config.moe.enabled ? config.moe.num_experts : 0,
               .num_vision_layers = model_.vision().num_layers(),
               .caches_experts = options.vision_cache_experts && model_.moe() != nullptr};
  const int64_t features_bytes = int64_t{capacity_.image_tokens} * config.language.hidden_size *
                                 static_cast<int64_t>(c10::elementSize(backend_.compute_dtype()));
  capacity_.image_bytes =
      features_bytes * (capacity_.caches_experts ? 1 + capacity_.num_experts : 1);
  workspace_ = backend_.MakeWorkspace({.num_threads = options.num_threads,
                                       .max_rows = options.max_num_batched_tokens,
                                       .max_images = options.max_images_per_step});
  dense_ = backend_.MakeDenseContext();
  paged_ = backend_.MakePagedContext(kv_cache_->store());
}

void StepRunner::Run(const StepInput& input, StepOutput* output) {
  output->Clear();
  output->step_id = input.step_id;
  output->rows.resize(input.logits_rows.size());
  for (size_t i = 0; i < input.logits_rows.size(); ++i) {
    const LogitsRow& row = input.logits_rows[i];
    output->rows[i].use = row.use;
    if (row.span_idx >= 0 && row.span_idx < static_cast<int32_t>(input.spans.size())) {
      output->rows[i].slot = input.spans[row.span_idx].slot;
    } else {
      output->status = MalformedStep("logits of no span", row.span_idx);
    }
  }
  if (!output->status.ok()) return;
  output->status = CatchTorchErrors("the step failed", [&]() -> absl::Status {
    RETURN_IF_ERROR(ApplyChanges(input));
    workspace_->BeginStep(static_cast<int64_t>(input.token_ids.size() + input.spans.size()));
    RunEncodes(input, output);
    RunRoutes(input, output);
    RunSpans(input, output);
    return absl::OkStatus();
  });
}

absl::Status StepRunner::ApplyChanges(const StepInput& input) {
  for (const ImageHash& image : input.evicted_images) vision_cache_.Evict(image);
  for (const BlockCopy& copy : input.block_copies) {
    RETURN_IF_ERROR(kv_cache_->CheckBlock(copy.source));
    RETURN_IF_ERROR(kv_cache_->CheckBlock(copy.destination));
    kv_cache_->store().CopyBlock(copy.source, copy.destination);
  }
  return slots_.Apply(input, *kv_cache_);
}

// --- Images.

void StepRunner::RunEncodes(const StepInput& input, StepOutput* output) {
  const std::span<const EncodeJob> jobs = input.encode_jobs;
  for (size_t begin = 0; begin < jobs.size();) {
    size_t end = begin + 1;
    while (!isolate_ && end < jobs.size() && jobs[end].first_layer == jobs[begin].first_layer &&
           jobs[end].num_layers == jobs[begin].num_layers) {
      ++end;
    }
    const std::span<const EncodeJob> group = jobs.subspan(begin, end - begin);
    const absl::Status status =
        CatchTorchErrors("encoding an image failed", [&] { return Encode(group, output); });
    if (!status.ok()) {
      for (const EncodeJob& job : group) {
        vision_cache_.Evict(job.image.hash);
        output->encodes_done.push_back({.image = job.image.hash, .status = status});
      }
    }
    begin = end;
  }
}

absl::StatusOr<at::Tensor> StepRunner::PartialStates(std::span<const EncodeJob> jobs) {
  if (jobs.front().first_layer > 0) {
    std::vector<at::Tensor> states;
    for (const EncodeJob& job : jobs) {
      states.push_back(vision_cache_.TakePartial(job.image.hash, job.first_layer));
      if (!states.back().defined()) return MissingFeatures();
    }
    return backend_.ConcatRows(states, *workspace_);
  }
  std::vector<const uint8_t*> pixels;
  const int64_t size = model_.config().vision.image_size;
  for (const EncodeJob& job : jobs) {
    if (job.image.pixels == nullptr ||
        static_cast<int64_t>(job.image.pixels->size()) != 3 * size * size) {
      return MalformedStep("an image of another size", job.image.size);
    }
    pixels.push_back(job.image.pixels->data());
  }
  const at::Tensor device_pixels = backend_.UploadPixels(pixels, size, *workspace_);
  return model_.vision().Begin(device_pixels, *workspace_);
}

absl::Status StepRunner::Encode(std::span<const EncodeJob> jobs, StepOutput* output) {
  const int32_t first = jobs.front().first_layer;
  const int32_t end = first + jobs.front().num_layers;
  const int64_t num_images = static_cast<int64_t>(jobs.size());
  if (first < 0 || end <= first || end > model_.vision().num_layers()) {
    return MalformedStep("layers that the tower does not have", end);
  }
  StageTimer clip(backend_, Stage::kClip, &output->times);
  ASSIGN_OR_RETURN(at::Tensor hidden, PartialStates(jobs));
  hidden = model_.vision().RunLayers(
      std::move(hidden), num_images, first, end - first, *dense_, *workspace_);
  clip.Stop();
  const bool finished = end == model_.vision().num_layers();
  if (finished) {
    StageTimer projector(backend_, Stage::kProjector, &output->times);
    hidden = model_.projector().Forward(hidden, *workspace_);
    projector.Stop();
  }
  const int64_t rows = capacity_.image_tokens;
  for (int64_t i = 0; i < num_images; ++i) {
    // A copy: images of one pass are evicted one by one, and the workspace is used again.
    const at::Tensor own = hidden.narrow(0, i * rows, rows).clone();
    if (finished) {
      VisionCache::Image image = {.features = own};
      if (capacity_.caches_experts) {
        StageTimer experts(backend_, Stage::kExperts, &output->times);
        image.experts = model_.moe()->ExpertOutputs(own, *workspace_).clone();
        experts.Stop();
      }
      vision_cache_.Put(jobs[i].image.hash, image);
      output->encodes_done.push_back({.image = jobs[i].image.hash, .status = absl::OkStatus()});
    } else {
      vision_cache_.PutPartial(jobs[i].image.hash, end, own);
    }
  }
  return absl::OkStatus();
}

// --- Routing.

void StepRunner::RunRoutes(const StepInput& input, StepOutput* output) {
  for (const RouteJob& job : input.route_jobs) {
    RouteDone done = {.slot = job.slot, .image_idx = job.image_idx};
    done.status =
        CatchTorchErrors("routing an image failed", [&] { return Route(job, output, &done); });
    output->routes_done.push_back(std::move(done));
  }
}

absl::Status StepRunner::RoutingWeights(const RouteJob& job,
                                        const at::Tensor& features,
                                        StepOutput* output,
                                        at::Tensor* weights) {
  if (job.source == RoutingSource::kWeights) {
    if (static_cast<int32_t>(job.weights.size()) != capacity_.num_experts) {
      return MalformedStep("expert weights of another count",
                           static_cast<int64_t>(job.weights.size()));
    }
    at::Tensor host = at::empty({1, capacity_.num_experts}, at::kFloat);
    std::copy(job.weights.begin(), job.weights.end(), host.mutable_data_ptr<float>());
    *weights = host.to(features.device(), features.scalar_type());
    return absl::OkStatus();
  }
  return RouterWeights(job.text_ids, features, output, weights);
}

absl::Status StepRunner::RouterWeights(const std::vector<TokenId>& text_ids,
                                       const at::Tensor& features,
                                       StepOutput* output,
                                       at::Tensor* weights) {
  const int32_t vocab_rows = model_.config().language.vocab_rows;
  const auto is_bad = [&](TokenId id) { return id < 0 || id >= vocab_rows; };
  if (text_ids.empty() || std::any_of(text_ids.begin(), text_ids.end(), is_bad)) {
    return MalformedStep("routing text that is empty or outside the vocabulary",
                         static_cast<int64_t>(text_ids.size()));
  }
  StageTimer router(backend_, Stage::kRouter, &output->times);
  const int32_t cu_text[] = {0, static_cast<int32_t>(text_ids.size())};
  const at::Tensor text =
      model_.language().Embed(backend_.UploadIds(text_ids, *workspace_), *workspace_);
  *weights =
      model_.moe()->RouterWeights(features.narrow(0, 0, 1), text, cu_text, *workspace_).weights;
  router.Stop();
  return absl::OkStatus();
}

absl::Status StepRunner::BoundError(const RouteJob& job,
                                    VisionCache::Image* image,
                                    StepOutput* output,
                                    RouteDone* done) {
  if (image->expert_norms.empty()) {
    const bool is_kept = image->experts.defined();
    if (!is_kept && job.bound_only) return absl::OkStatus();  // not worth a pass
    StageTimer experts(backend_, Stage::kExperts, &output->times);
    const at::Tensor outputs =
        is_kept ? image->experts : model_.moe()->ExpertOutputs(image->features, *workspace_);
    image->expert_norms =
        ToFloats(at::linalg_vector_norm(outputs.flatten(1), 2, {1}, false, at::kFloat));
    experts.Stop();
  }
  at::Tensor exact;
  RETURN_IF_ERROR(RouterWeights(job.exact_text_ids, image->features, output, &exact));
  const std::vector<float> exact_weights = ToFloats(exact.view({-1}));
  float bound = 0.0f;
  for (size_t i = 0; i < exact_weights.size(); ++i) {
    bound += std::abs(done->weights.at(i) - exact_weights[i]) * image->expert_norms.at(i);
  }
  done->error_bound = bound;
  return absl::OkStatus();
}

absl::Status StepRunner::Route(const RouteJob& job, StepOutput* output, RouteDone* done) {
  SlotState* slot = slots_.Find(job.slot);
  if (slot == nullptr) return MalformedStep("routing for a slot that does not exist", job.slot);
  if (job.source == RoutingSource::kZeros) {  // needs no features: no EncodeJob comes with it
    slot->visuals[job.image_idx] =
        at::zeros({capacity_.image_tokens, model_.config().language.hidden_size},
                  at::TensorOptions(backend_.device()).dtype(backend_.compute_dtype()));
    return absl::OkStatus();
  }
  VisionCache::Image* image = vision_cache_.Find(job.image);
  if (image == nullptr) return MissingFeatures();
  if (model_.moe() == nullptr) {
    slot->visuals[job.image_idx] = image->features;
    return absl::OkStatus();
  }
  at::Tensor weights;
  RETURN_IF_ERROR(RoutingWeights(job, image->features, output, &weights));
  if (!job.bound_only) {
    slot->visuals[job.image_idx] = VisualTokens(*image, weights, output);
  }
  done->weights =
      job.source == RoutingSource::kWeights ? job.weights : ToFloats(weights.view({-1}));
  if (job.exact_text_ids.empty()) return absl::OkStatus();
  return BoundError(job, image, output, done);
}

at::Tensor StepRunner::VisualTokens(const VisionCache::Image& image,
                                    const at::Tensor& weights,
                                    StepOutput* output) {
  StageTimer experts(backend_, Stage::kExperts, &output->times);
  const MultilingualMoe& moe = *model_.moe();
  // A copy: the workspace is used again.
  at::Tensor visuals =
      (capacity_.caches_experts
           ? moe.Combine(image.features, image.experts, weights.view({-1}), *workspace_)
           : moe.VisualTokens(image.features, weights, *workspace_))
          .clone();
  experts.Stop();
  return visuals;
}

// --- The language model.

void StepRunner::FailSlot(SlotId slot, const absl::Status& status, StepOutput* output) const {
  const bool known = std::any_of(output->failed_slots.begin(),
                                 output->failed_slots.end(),
                                 [&](const SlotFailure& failure) { return failure.slot == slot; });
  if (!known) output->failed_slots.push_back({.slot = slot, .status = status});
}

void StepRunner::RunSpans(const StepInput& input, StepOutput* output) {
  batch_.Clear();
  for (int32_t i = 0; i < static_cast<int32_t>(input.spans.size()); ++i) {
    SlotState* slot = slots_.Find(input.spans[i].slot);
    const absl::Status status =
        slot == nullptr
            ? MalformedStep("a span of a slot that does not exist", input.spans[i].slot)
            : batch_.Add(
                  input, i, *slot, capacity_.block_size, model_.config().language.vocab_rows);
    if (!status.ok()) {
      FailSlot(input.spans[i].slot, status, output);
      continue;
    }
    RememberTokens(input, input.spans[i], slot);
    if (isolate_) {
      RunBatch(input, output);
      batch_.Clear();
    }
  }
  if (!isolate_ && batch_.num_rows() > 0) RunBatch(input, output);
}

void StepRunner::RunBatch(const StepInput& input, StepOutput* output) {
  const absl::Status status =
      CatchTorchErrors("the language model failed", [&] { return Forward(input, output); });
  if (status.ok()) return;
  for (const SlotId slot : batch_.slots) FailSlot(slot, status, output);
}

absl::Status StepRunner::Forward(const StepInput& input, StepOutput* output) {
  int64_t prefill_rows = 0;
  for (size_t i = 0; i < batch_.spans.size(); ++i) {
    const PagedSpan& span = batch_.spans[i];
    const SlotState* slot = slots_.Find(batch_.slots[i]);
    if (span.start_position < slot->num_prompt_tokens) prefill_rows += span.num_tokens;
  }
  StageTimes pass;
  StageTimer language(backend_, Stage::kPrefill, &pass);
  at::Tensor hidden = model_.EmbedRows(batch_.ids, batch_.visuals, *workspace_);
  backend_.PlanPaged(batch_.spans, *workspace_, *paged_);
  hidden = model_.language().Forward(std::move(hidden), *paged_, *workspace_);
  at::Tensor logits;
  if (!batch_.draws.rows.empty()) {
    const at::Tensor rows = backend_.UploadIds(batch_.draws.rows, *workspace_);
    logits = model_.language().Logits(hidden, rows, *workspace_);
  }
  language.Stop();
  // Prompt rows and generated rows share the pass: each stage gets its share of the time.
  const double share = static_cast<double>(prefill_rows) / batch_.num_rows();
  output->times[Stage::kPrefill] += pass[Stage::kPrefill] * share;
  output->times[Stage::kDecode] += pass[Stage::kPrefill] * (1.0 - share);
  if (batch_.draws.rows.empty() && batch_.scores.rows.empty()) return absl::OkStatus();
  StageTimer sampling(backend_, Stage::kSample, &output->times);
  if (logits.defined()) Sample(input, batch_.draws.result_index, logits, output);
  Score(input, hidden, output);
  sampling.Stop();
  return absl::OkStatus();
}

void StepRunner::Score(const StepInput& input, const at::Tensor& hidden, StepOutput* output) {
  const int64_t row_bytes =
      int64_t{model_.config().language.vocab_rows} * static_cast<int64_t>(sizeof(float));
  const auto max_rows =
      static_cast<size_t>(std::max<int64_t>(1, max_score_logits_bytes_ / row_bytes));
  const std::span<const int32_t> rows = batch_.scores.rows;
  const std::span<const int32_t> result_index = batch_.scores.result_index;
  for (size_t begin = 0; begin < rows.size(); begin += max_rows) {
    const size_t count = std::min(max_rows, rows.size() - begin);
    const at::Tensor slice = backend_.UploadIds(rows.subspan(begin, count), *workspace_);
    const at::Tensor logits = model_.language().Logits(hidden, slice, *workspace_);
    Sample(input, result_index.subspan(begin, count), logits, output);
  }
}

void StepRunner::Sample(const StepInput& input,
                        std::span<const int32_t> result_index,
                        const at::Tensor& logits,
                        StepOutput* output) {
  std::vector<SamplerRequest> requests;
  requests.reserve(result_index.size());
  for (const int32_t index : result_index) {
    const LogitsRow& row = input.logits_rows[index];
    const Span& span = input.spans[row.span_idx];
    const SlotState* slot = slots_.Find(span.slot);
    requests.push_back({.slot = span.slot,
                        .use = row.use,
                        .target = row.target,
                        .next_position = span.start_position + row.row + 1,
                        .sampling = &slot->sampling,
                        .tokens = slot->tokens,
                        .num_prompt_tokens = slot->num_prompt_tokens});
  }
  std::vector<RowResult> results = sampler_.Sample(logits, requests, *workspace_);
  for (size_t i = 0; i < results.size(); ++i) {
    const int32_t index = result_index[i];
    RowResult& result = results[i];
    if (result.token < 0) {
      FailSlot(result.slot,
               ErrorStatus(absl::StatusCode::kInternal,
                           "the model's logits are not finite",
                           {.reason = "LOGITS_NOT_FINITE"}),
               output);
    } else if (result.use == LogitsUse::kSample) {
      SlotState* slot = slots_.Find(result.slot);
      slot->last_sampled = result.token;
      slot->SetToken(requests[i].next_position, result.token);
    }
    output->rows[index] = std::move(result);
  }
}

}  // namespace parrot
