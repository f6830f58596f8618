// Handles: a backend's own form of the model's weights, made at load time and opaque to model/nn.
//
// A spec says what the weights are: names in the checkpoint, full (unpartitioned) sizes, and how a
// matrix is cut when several devices share the model. The handle that comes back holds whatever the
// backend makes of them: the tensors themselves (reference), packed panels (cpu), fused and
// quantised matrices (cuda). A backend receives only handles that it made. Model code reads local
// sizes (heads of this rank) from handles and never from the configuration, so tensor parallel
// changes no model code.
//
// Handles are immutable after construction and may be used by several threads at once; they live as
// long as the model that holds them and are independent of every Workspace.
#ifndef PARROT_MODEL_BACKEND_HANDLES_H_
#define PARROT_MODEL_BACKEND_HANDLES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/api/pixel_normalization.h"

namespace parrot {

// How a matrix [out, in] is cut over ranks: not at all, by rows of output (each rank computes some
// outputs), or by input columns (each rank computes a part of every sum; the operation returns the
// reduced sum).
enum class Partition { kReplicated, kColumn, kRow };

// kGelu is the exact (erf) form; kQuickGelu is x * sigmoid(1.702 x).
enum class Activation { kNone, kGelu, kQuickGelu };

// kLayerNorm has weight and bias; kRmsNorm has a weight: x / sqrt(mean(x^2) + eps) in fp32, cast,
// times the weight.
enum class NormKind { kLayerNorm, kRmsNorm };

// What a matrix is for: backends may store each in a format of its own.
enum class WeightRole { kVision, kLanguage, kExperts, kHead };

struct NormSpec {
  std::string name;  // "<name>.weight", "<name>.bias"
  NormKind kind = NormKind::kRmsNorm;
  int64_t size = 0;
  float eps = 0.0f;
};

struct LinearSpec {
  std::string name;  // "<name>.weight" [out, in], "<name>.bias" [out]
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool has_bias = false;
  Partition partition = Partition::kReplicated;
  Activation activation = Activation::kNone;  // applied to the result
  WeightRole role = WeightRole::kLanguage;
};

struct EmbeddingSpec {
  std::string name;  // "<name>.weight" [rows, size]
  int64_t rows = 0;
  int64_t size = 0;
  bool is_head = false;  // the output head is tied to it
};

// Pixels to tower rows: normalise (table), cut into patches, multiply, put the class row first, add
// positions, normalise.
struct PatchEmbeddingSpec {
  std::string patch_name;     // weight [hidden, 3, patch, patch], no bias
  std::string class_name;     // [hidden], the whole name
  std::string position_name;  // weight [tokens, hidden]
  NormSpec pre_norm;
  int64_t image_size = 0;
  int64_t patch_size = 0;
  int64_t hidden_size = 0;

  int64_t num_tokens() const {
    const int64_t side = image_size / patch_size;
    return side * side + 1;
  }
};

// One attention: the norm before it, the three projections (column), and how to attend.
struct QkvSpec {
  NormSpec norm;
  LinearSpec query, key, value;  // outputs are heads * head_dim, kv_heads * head_dim (twice)
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int32_t layer_idx = 0;    // which layer of the KvStore
  float rope_theta = 0.0f;  // 0: no rotary embedding
};

// hidden + output(activation(input(norm(hidden)))); `input` is column, `output` row.
struct MlpSpec {
  NormSpec norm;
  LinearSpec input, output;
};

// hidden + down(silu(gate(n)) * up(n)), n = norm(hidden); gate and up are column, down row.
struct GatedMlpSpec {
  NormSpec norm;
  LinearSpec gate, up, down;
};

struct MoeSpec {
  LinearSpec router;         // [experts, hidden], no bias
  std::string experts_name;  // "<experts_name>.<i>.{gate,up,down}_proj.weight"
  int64_t num_experts = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  // V = sum_i r_i E_i(F) + residual_weight * F; 0: no residual.
  float residual_weight = 0.0f;
};

// Final norm and head. A tied head is given the embedding's name.
struct LmHeadSpec {
  NormSpec norm;
  LinearSpec head;
};

using NamedTensor = std::pair<std::string, at::Tensor>;

class Handle {
 public:
  virtual ~Handle() = default;
  // Checkpoint names and the tensors behind this handle, for an optimiser. A backend that packs its
  // weights has none to show.
  virtual std::vector<NamedTensor> named_tensors() const { return {}; }
};

class NormHandle : public Handle {};
class LinearHandle : public Handle {};
class EmbeddingHandle : public Handle {};
class PatchEmbeddingHandle : public Handle {};
class MlpHandle : public Handle {};
class GatedMlpHandle : public Handle {};
class MoeHandle : public Handle {};
class LmHeadHandle : public Handle {};

class QkvHandle : public Handle {
 public:
  // Of this rank.
  int64_t num_heads() const { return num_heads_; }
  int64_t num_kv_heads() const { return num_kv_heads_; }
  int64_t head_dim() const { return head_dim_; }

 protected:
  QkvHandle(int64_t num_heads, int64_t num_kv_heads, int64_t head_dim)
      : num_heads_(num_heads), num_kv_heads_(num_kv_heads), head_dim_(head_dim) {}

 private:
  const int64_t num_heads_;
  const int64_t num_kv_heads_;
  const int64_t head_dim_;
};

}  // namespace parrot

#endif  // PARROT_MODEL_BACKEND_HANDLES_H_
