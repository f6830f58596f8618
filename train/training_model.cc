#include "train/training_model.h"

#include <algorithm>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/cross_entropy_loss.h"
#include "ATen/ops/split_with_sizes.h"
#include "train/activation_checkpoint.h"
#include "train/host_tensor.h"

namespace parrot {
namespace {

// The MoE is always made, so that its tensors are there; Options::use_moe decides whether it runs.
ModelConfig WithMoe(ModelConfig config) {
  config.moe.enabled = true;
  return config;
}

// Where everything of a batch lies. Positions in `text` are rows of all samples' text embeddings,
// one after the other; positions in `rows` are the language model's rows.
struct Layout {
  std::vector<int32_t> ids;
  std::vector<int64_t> piece_sizes;    // of text, split at images
  std::vector<int64_t> routed_text;    // rows of `ids` that feed the routers, sample by sample
  std::vector<int32_t> cu_text = {0};  // borders of routed_text, per image
  std::vector<int32_t> cu_rows = {0};  // borders of samples in the language model's rows
  std::vector<int64_t> target_rows, targets;
};

// Labels of the sample's rows [0, length) -> rows that predict, and what.
void AddTargets(const ModelText& text, int64_t image_tokens, int64_t length, Layout* layout) {
  const int64_t begin = layout->cu_rows.back();
  for (size_t i = 0; i < text.labels.size(); ++i) {
    if (text.labels[i] == kIgnoredLabel) continue;
    const bool after_image = text.image_at >= 0 && static_cast<int64_t>(i) >= text.image_at;
    const int64_t row = static_cast<int64_t>(i) + (after_image ? image_tokens : 0);
    if (row == 0 || row >= length) continue;
    layout->target_rows.push_back(begin + row - 1);
    layout->targets.push_back(text.labels[i]);
  }
}

Layout LayOut(std::span<const ModelInput> samples, int64_t image_tokens, int64_t max_length) {
  Layout layout;
  for (const ModelInput& sample : samples) {
    const ModelText& text = *sample.text;
    const auto first = static_cast<int64_t>(layout.ids.size());
    const auto count = static_cast<int64_t>(text.ids.size());
    layout.ids.insert(layout.ids.end(), text.ids.begin(), text.ids.end());
    const bool has_image = text.image_at >= 0;
    if (has_image) {
      layout.piece_sizes.push_back(text.image_at);
      for (int64_t i = 0; i < count; ++i) {
        if (text.labels[static_cast<size_t>(i)] == kIgnoredLabel) {
          layout.routed_text.push_back(first + i);
        }
      }
      layout.cu_text.push_back(static_cast<int32_t>(layout.routed_text.size()));
    }
    layout.piece_sizes.push_back(count - (has_image ? text.image_at : 0));
    const int64_t length = std::min(count + (has_image ? image_tokens : 0), max_length);
    AddTargets(text, image_tokens, length, &layout);
    layout.cu_rows.push_back(layout.cu_rows.back() + static_cast<int32_t>(length));
  }
  return layout;
}

}  // namespace

TrainingModel::TrainingModel(const ModelConfig& config,
                             const ReferenceBackend::Options& backend,
                             const Options& options,
                             Parameters& parameters)
    : options_(options),
      backend_(backend),
      model_(WithMoe(config), backend_, parameters),
      workspace_(backend_.MakeWorkspace({})) {}

at::Tensor TrainingModel::VisionFeatures(std::span<const ImagePixels* const> pictures) const {
  std::vector<const uint8_t*> images;
  images.reserve(pictures.size());
  for (const ImagePixels* pixels : pictures) images.push_back(pixels->data());
  const VisionTower& tower = model_.vision();
  const auto context = backend_.MakeDenseContext();
  const at::Tensor hidden = tower.Begin(
      backend_.UploadPixels(images, model_.config().vision.image_size, *workspace_), *workspace_);
  const auto count = static_cast<int64_t>(images.size());
  return tower.RunLayers(hidden, count, 0, tower.num_layers(), *context, *workspace_)
      .view({count, image_tokens(), -1});
}

TrainingModel::Visual TrainingModel::VisualTokens(const at::Tensor& features,
                                                  const at::Tensor& text,
                                                  std::span<const int32_t> cu_text) const {
  Visual visual;
  visual.projected = model_.projector().Forward(features, *workspace_);
  visual.tokens = visual.projected;
  if (!options_.use_moe) return visual;
  const at::Tensor class_rows =
      visual.projected.view({-1, image_tokens(), visual.projected.size(1)}).select(1, 0);
  visual.routing = model_.moe()->RouterWeights(class_rows, text, cu_text, *workspace_);
  visual.tokens = model_.moe()->VisualTokens(visual.projected, visual.routing.weights, *workspace_);
  return visual;
}

at::Tensor TrainingModel::RunLanguageModel(at::Tensor rows,
                                           std::span<const int32_t> cu_rows) const {
  const LanguageModel& language = model_.language();
  // Shared: a recomputed layer needs it in the backward pass.
  const std::shared_ptr<AttentionContext> context = backend_.MakeDenseContext();
  backend_.PlanDense({.cu_seqlens = cu_rows}, *workspace_, *context);
  if (!options_.checkpoint_activations) return language.Forward(rows, *context, *workspace_);
  for (int32_t i = 0; i < language.num_layers(); ++i) {
    std::vector<const Handle*> handles;
    language.AppendLayerHandles(i, &handles);
    std::vector<at::Tensor> weights;
    for (const Handle* handle : handles) {
      for (NamedTensor& tensor : handle->named_tensors()) {
        weights.push_back(std::move(tensor.second));
      }
    }
    rows = CheckpointActivations(
        [this, context, i](const at::Tensor& x) {
          return model_.language().RunLayer(i, x, *context, *workspace_);
        },
        rows,
        weights);
  }
  return rows;
}

LanguageLoss TrainingModel::Loss(std::span<const ModelInput> samples) const {
  const at::Device device = backend_.device();
  const Layout layout = LayOut(samples, image_tokens(), options_.max_length);
  const at::Tensor text =
      model_.language().Embed(backend_.UploadIds(layout.ids, *workspace_), *workspace_);
  LanguageLoss result = {.targets = static_cast<int64_t>(layout.targets.size()),
                         .rows = layout.cu_rows.back()};
  if (result.targets == 0) return result;

  std::vector<at::Tensor> features;
  for (const ModelInput& sample : samples) {
    if (sample.text->image_at >= 0) features.push_back(sample.features);
  }
  std::vector<at::Tensor> visual;  // [tokens, H] each
  if (!features.empty()) {
    const Visual all = VisualTokens(at::cat(features),
                                    text.index_select(0, UploadInt64(layout.routed_text, device)),
                                    layout.cu_text);
    visual = all.tokens.split(image_tokens());
    if (all.routing.weights.defined()) result.routing = all.routing.weights.detach();
  }
  // Text and pictures in turn, each sample cut to its length.
  const std::vector<at::Tensor> pieces = at::split_with_sizes(text, layout.piece_sizes);
  std::vector<at::Tensor> parts;
  size_t piece = 0, image = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const size_t first = parts.size();
    parts.push_back(pieces[piece++]);
    if (samples[i].text->image_at >= 0) {
      parts.push_back(visual[image++]);
      parts.push_back(pieces[piece++]);
    }
    int64_t left = layout.cu_rows[i + 1] - layout.cu_rows[i];
    for (size_t p = first; p < parts.size(); ++p) {
      if (parts[p].size(0) > left) parts[p] = parts[p].narrow(0, 0, left);
      left -= parts[p].size(0);
    }
  }
  const at::Tensor hidden =
      RunLanguageModel(backend_.ConcatRows(parts, *workspace_), layout.cu_rows);
  const at::Tensor logits = model_.language().Logits(
      hidden.index_select(0, UploadInt64(layout.target_rows, device)), at::Tensor(), *workspace_);
  result.loss = at::cross_entropy_loss(logits, UploadInt64(layout.targets, device));
  return result;
}

}  // namespace parrot
