#include "model/weights/tensor_specs.h"

#include <algorithm>
#include <utility>

#include "model/weights/tensor_names.h"

namespace parrot {
namespace {

using Shape = std::vector<int64_t>;

class SpecList {
 public:
  explicit SpecList(ModelPart part) : part_(part) {}

  void Add(std::string name, Shape shape) {
    specs_.push_back({.name = std::move(name), .shape = std::move(shape), .part = part_});
  }
  // `make_name` turns "weight" and "bias" into names.
  template <typename MakeName>
  void AddLinear(int64_t out, int64_t in, bool bias, MakeName make_name) {
    Add(make_name("weight"), {out, in});
    if (bias) Add(make_name("bias"), {out});
  }
  void AppendSortedTo(std::vector<TensorSpec>& all) {
    std::sort(specs_.begin(), specs_.end(), [](const TensorSpec& a, const TensorSpec& b) {
      return a.name < b.name;
    });
    all.insert(
        all.end(), std::make_move_iterator(specs_.begin()), std::make_move_iterator(specs_.end()));
  }

 private:
  const ModelPart part_;
  std::vector<TensorSpec> specs_;
};

SpecList LanguageTensors(const LanguageConfig& c) {
  SpecList list(ModelPart::kLanguage);
  list.Add(tensor_names::kTokenEmbedding, {c.vocab_rows, c.hidden_size});
  list.Add(tensor_names::kFinalNorm, {c.hidden_size});
  if (!c.tie_word_embeddings) list.Add(tensor_names::kLmHead, {c.vocab_rows, c.hidden_size});
  const int64_t kv_size = int64_t{c.num_kv_heads} * c.head_dim();
  for (int32_t layer = 0; layer < c.num_layers; ++layer) {
    const auto add = [&](const std::string& module, int64_t out, int64_t in, bool bias) {
      list.AddLinear(out, in, bias, [&](const char* suffix) {
        return tensor_names::LanguageLayer(layer, module + "." + suffix);
      });
    };
    list.Add(tensor_names::LanguageLayer(layer, "input_layernorm.weight"), {c.hidden_size});
    list.Add(tensor_names::LanguageLayer(layer, "post_attention_layernorm.weight"),
             {c.hidden_size});
    add("self_attn.q_proj", c.hidden_size, c.hidden_size, /*bias=*/true);
    add("self_attn.k_proj", kv_size, c.hidden_size, /*bias=*/true);
    add("self_attn.v_proj", kv_size, c.hidden_size, /*bias=*/true);
    add("self_attn.o_proj", c.hidden_size, c.hidden_size, /*bias=*/false);
    add("mlp.gate_proj", c.intermediate_size, c.hidden_size, /*bias=*/false);
    add("mlp.up_proj", c.intermediate_size, c.hidden_size, /*bias=*/false);
    add("mlp.down_proj", c.hidden_size, c.intermediate_size, /*bias=*/false);
  }
  return list;
}

SpecList VisionTensors(const VisionConfig& c) {
  SpecList list(ModelPart::kVision);
  const int64_t hidden = c.hidden_size;
  list.Add(tensor_names::Vision("embeddings.class_embedding"), {hidden});
  list.Add(tensor_names::Vision("embeddings.patch_embedding.weight"),
           {hidden, 3, c.patch_size, c.patch_size});
  list.Add(tensor_names::Vision("embeddings.position_embedding.weight"), {c.num_tokens(), hidden});
  for (const char* norm : {"pre_layrnorm", "post_layernorm"}) {
    for (const char* suffix : {".weight", ".bias"}) {
      list.Add(tensor_names::Vision(std::string(norm) + suffix), {hidden});
    }
  }
  for (int32_t layer = 0; layer < c.num_layers; ++layer) {
    const auto name = [&](const char* module) {
      return [=](const char* suffix) {
        return tensor_names::VisionLayer(layer, std::string(module) + "." + suffix);
      };
    };
    for (const char* norm : {"layer_norm1", "layer_norm2"}) {
      list.Add(name(norm)("weight"), {hidden});
      list.Add(name(norm)("bias"), {hidden});
    }
    for (const char* linear :
         {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"}) {
      list.AddLinear(hidden, hidden, /*bias=*/true, name(linear));
    }
    list.AddLinear(c.intermediate_size, hidden, /*bias=*/true, name("mlp.fc1"));
    list.AddLinear(hidden, c.intermediate_size, /*bias=*/true, name("mlp.fc2"));
  }
  return list;
}

SpecList ProjectorTensors(const ModelConfig& config) {
  SpecList list(ModelPart::kProjector);
  for (int32_t i = 0; i < config.projector.depth; ++i) {
    const int64_t in = i == 0 ? config.vision.hidden_size : config.language.hidden_size;
    list.AddLinear(config.language.hidden_size, in, /*bias=*/true, [&](const char* suffix) {
      return tensor_names::Projector(config.projector, i, suffix);
    });
  }
  return list;
}

SpecList MoeTensors(const ModelConfig& config) {
  SpecList list(ModelPart::kMoe);
  const int64_t hidden = config.language.hidden_size;
  const int64_t intermediate = config.moe.intermediate_size;
  list.Add(tensor_names::kMoeGate, {config.moe.num_experts, hidden});
  for (int32_t expert = 0; expert < config.moe.num_experts; ++expert) {
    list.Add(tensor_names::Expert(expert, "gate_proj.weight"), {intermediate, hidden});
    list.Add(tensor_names::Expert(expert, "up_proj.weight"), {intermediate, hidden});
    list.Add(tensor_names::Expert(expert, "down_proj.weight"), {hidden, intermediate});
  }
  return list;
}

}  // namespace

const char* ModelPartName(ModelPart part) {
  switch (part) {
    case ModelPart::kLanguage:
      return "language";
    case ModelPart::kVision:
      return "vision";
    case ModelPart::kProjector:
      return "projector";
    case ModelPart::kMoe:
      return "moe";
  }
  return "unknown";
}

int64_t TensorSpec::num_elements() const {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  std::vector<TensorSpec> all;
  LanguageTensors(config.language).AppendSortedTo(all);
  VisionTensors(config.vision).AppendSortedTo(all);
  ProjectorTensors(config).AppendSortedTo(all);
  if (config.moe.enabled) MoeTensors(config).AppendSortedTo(all);
  return all;
}

std::vector<TensorSpec> ExpectedMoeTensors(const ModelConfig& config) {
  std::vector<TensorSpec> all;
  MoeTensors(config).AppendSortedTo(all);
  return all;
}

ParameterCounts CountParameters(const std::vector<TensorSpec>& tensors) {
  ParameterCounts counts;
  for (const TensorSpec& spec : tensors) {
    switch (spec.part) {
      case ModelPart::kLanguage:
        counts.language += spec.num_elements();
        break;
      case ModelPart::kVision:
        counts.vision += spec.num_elements();
        break;
      case ModelPart::kProjector:
        counts.projector += spec.num_elements();
        break;
      case ModelPart::kMoe:
        counts.moe += spec.num_elements();
        break;
    }
  }
  return counts;
}

}  // namespace parrot
