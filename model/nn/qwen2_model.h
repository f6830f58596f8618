// LanguageModel: Qwen1.5 / Qwen2, multi-head or grouped-query attention, tied or separate head.
//
// Works on rows, whatever they are: a whole prompt, a chunk of one, one token of each of many
// sequences. Where rows sit in their sequences is the attention context's business. Immutable after
// construction; thread-safe.
#ifndef PARROT_MODEL_NN_QWEN2_MODEL_H_
#define PARROT_MODEL_NN_QWEN2_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/api/model_config.h"
#include "model/backend/backend.h"

namespace parrot {

// Called with the state [rows, H] before layer 0 (`layer` 0) and after each layer (1..num_layers).
using HiddenTap = std::function<void(int32_t layer, const at::Tensor& hidden)>;

class LanguageModel {
 public:
  // `backend` outlives the model.
  LanguageModel(const LanguageConfig& config, const Backend& backend, TensorSource& source);

  int32_t num_layers() const { return static_cast<int32_t>(layers_.size()); }
  // Key-value heads of this rank, for the KvStore.
  int64_t num_kv_heads() const { return layers_.front().qkv->num_kv_heads(); }

  // ids [rows] on the device -> [rows, H]
  at::Tensor Embed(const at::Tensor& ids, Workspace& workspace) const;
  // All layers; [rows, H] -> [rows, H], not yet normalised. `context` is planned for these rows.
  at::Tensor Forward(at::Tensor hidden,
                     AttentionContext& context,
                     Workspace& workspace,
                     const HiddenTap* tap = nullptr) const;
  // One layer of Forward, for a trainer that computes layers again.
  at::Tensor RunLayer(int32_t layer,
                      const at::Tensor& hidden,
                      AttentionContext& context,
                      Workspace& workspace) const;
  // Final norm and head of the rows `rows` ([n] int32 on the device; undefined: all) of hidden
  // [rows, H] -> fp32 [n, vocab_rows]. `normed`, if not null, receives the final norm's output.
  at::Tensor Logits(const at::Tensor& hidden,
                    const at::Tensor& rows,
                    Workspace& workspace,
                    at::Tensor* normed = nullptr) const;

  void AppendHandles(std::vector<const Handle*>* out) const;
  void AppendLayerHandles(int32_t layer, std::vector<const Handle*>* out) const;

 private:
  struct Layer {
    std::unique_ptr<QkvHandle> qkv;
    std::unique_ptr<LinearHandle> output;
    std::unique_ptr<GatedMlpHandle> mlp;
  };
  Layer MakeLayer(const LanguageConfig& config, int32_t layer_idx, TensorSource& source) const;

  const Backend& backend_;
  std::unique_ptr<EmbeddingHandle> embedding_;
  std::vector<Layer> layers_;
  std::unique_ptr<LmHeadHandle> head_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_NN_QWEN2_MODEL_H_
