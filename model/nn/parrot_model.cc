#include "model/nn/parrot_model.h"

#include <utility>

#include "model/api/pixel_normalization.h"

namespace parrot {

ParrotModel::ParrotModel(const ModelConfig& config, const Backend& backend, TensorSource& source)
    : config_(config), backend_(backend) {
  language_ = std::make_unique<LanguageModel>(config.language, backend, source);
  vision_ = std::make_unique<VisionTower>(
      config.vision, PixelNormalization(config.image_processor), backend, source);
  projector_ = std::make_unique<Projector>(config, backend, source);
  if (config.moe.enabled) moe_ = std::make_unique<MultilingualMoe>(config, backend, source);
}

at::Tensor ParrotModel::EncodeImages(const at::Tensor& pixels,
                                     AttentionContext& dense,
                                     Workspace& workspace) const {
  at::Tensor hidden = vision_->Begin(pixels, workspace);
  hidden = vision_->RunLayers(
      std::move(hidden), pixels.size(0), 0, vision_->num_layers(), dense, workspace);
  return projector_->Forward(hidden, workspace);
}

at::Tensor ParrotModel::EmbedRows(std::span<const TokenId> ids,
                                  std::span<const VisualRows> visuals,
                                  Workspace& workspace) const {
  std::vector<at::Tensor> parts;
  parts.reserve(2 * visuals.size() + 1);
  size_t row = 0;
  const auto append_text = [&](size_t end) {
    if (end == row) return;
    const at::Tensor device_ids = backend_.UploadIds(ids.subspan(row, end - row), workspace);
    parts.push_back(language_->Embed(device_ids, workspace));
    row = end;
  };
  for (const VisualRows& run : visuals) {
    append_text(static_cast<size_t>(run.first_row));
    parts.push_back(run.visual);
    row += static_cast<size_t>(run.visual.size(0));
  }
  append_text(ids.size());
  return backend_.ConcatRows(parts, workspace);
}

std::vector<NamedTensor> ParrotModel::NamedWeights() const {
  std::vector<const Handle*> handles;
  language_->AppendHandles(&handles);
  vision_->AppendHandles(&handles);
  projector_->AppendHandles(&handles);
  if (moe_ != nullptr) moe_->AppendHandles(&handles);
  std::vector<NamedTensor> weights;
  for (const Handle* handle : handles) {
    for (NamedTensor& tensor : handle->named_tensors()) weights.push_back(std::move(tensor));
  }
  return weights;
}

}  // namespace parrot
