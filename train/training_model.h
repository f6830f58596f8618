// TrainingModel: the model's mathematics for training: many samples in one forward, the loss, the
// vision tower's features. The reference backend's model/nn over trainable tensors; nothing is
// stated twice.
//
// Samples lie side by side in the rows of a call, whole and without padding, so a long one wastes
// nothing on short ones. Only the rows that predict a learned token go through the head.
//
// Immutable after construction; thread-safe: threads run forward and backward passes of their own.
#ifndef PARROT_TRAIN_TRAINING_MODEL_H_
#define PARROT_TRAIN_TRAINING_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/api/image_input.h"
#include "model/api/model_config.h"
#include "model/backend/reference/reference_backend.h"
#include "model/nn/parrot_model.h"
#include "train/data/sample_encoder.h"
#include "train/parameters.h"

namespace parrot {

struct ModelInput {
  const ModelText* text = nullptr;
  at::Tensor features;  // [image tokens, tower's hidden size]; undefined without an image
};

struct LanguageLoss {
  at::Tensor loss;      // fp32 scalar: mean over the targets; undefined when there are none
  int64_t targets = 0;  // learned tokens
  int64_t rows = 0;     // of the language model
  at::Tensor routing;   // [images, experts], detached; undefined when no router ran
};

class TrainingModel {
 public:
  struct Options {
    bool use_moe = true;
    bool checkpoint_activations = false;  // layers are computed again in the backward pass
    int32_t max_length = 2048;            // rows of a sample; the rest is cut
  };

  // `parameters` outlives the model; Parameters::Train has been called.
  TrainingModel(const ModelConfig& config,
                const ReferenceBackend::Options& backend,
                const Options& options,
                Parameters& parameters);

  const ParrotModel& model() const { return model_; }
  const ReferenceBackend& backend() const { return backend_; }
  // Row counts of one picture.
  int64_t image_tokens() const { return model_.config().vision.num_tokens(); }

  // The tower's output for pictures of the model's size, [pictures, tokens, hidden]; with
  // gradients if they are enabled.
  at::Tensor VisionFeatures(std::span<const ImagePixels* const> pictures) const;

  LanguageLoss Loss(std::span<const ModelInput> samples) const;

  // F, r and V of pictures with their texts: V [images * tokens, H].
  struct Visual {
    at::Tensor projected;  // F [images * tokens, H]
    at::Tensor tokens;     // V; F itself without the MoE
    Routing routing;
  };
  // features [images * tokens, tower's hidden]; text [rows, H], those of image i at
  // [cu_text[i], cu_text[i + 1]).
  Visual VisualTokens(const at::Tensor& features,
                      const at::Tensor& text,
                      std::span<const int32_t> cu_text) const;

 private:
  at::Tensor RunLanguageModel(at::Tensor rows, std::span<const int32_t> cu_rows) const;

  const Options options_;
  const ReferenceBackend backend_;
  const ParrotModel model_;
  const std::unique_ptr<Workspace> workspace_;  // keeps nothing in this backend
};

}  // namespace parrot

#endif  // PARROT_TRAIN_TRAINING_MODEL_H_
