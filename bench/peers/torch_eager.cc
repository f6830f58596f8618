// What plain PyTorch would reach: the layers of Qwen1.5 and CLIP ViT-L/14-336 as eager ATen
// operations (at::linear, at::scaled_dot_product_attention, norms and activations op by op) on
// random weights. A peer to compare with, measured by run.py; it shares no code with what it is
// compared with.
//
//   torch_eager_bench MODEL DTYPE [THREADS [REPEATS]]      torch_eager_bench 0.5b bfloat16 2 3
//
// MODEL: 0.5b, 1.8b, tiny (prefill of 512 and 641 tokens, decode at batch 1, 4 and 16 over 641
// tokens of context, in tokens/s) or vision (milliseconds of one image through the tower). Prints
// one JSON object, each figure with all of its samples; a figure stops repeating after 20 s.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <torch/headeronly/version.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace parrot {
namespace {

using at::Tensor;
using Clock = std::chrono::steady_clock;

constexpr int64_t kContext = 641;  // 577 tokens of an image and 64 of text
constexpr int64_t kDecodeSteps = 16;
constexpr double kMaxSeconds = 20;

struct Shape {
  const char* name;
  int64_t hidden, intermediate, layers, heads, vocab_rows;
  bool tied;
};

constexpr Shape kShapes[] = {
    {"tiny", 64, 128, 2, 2, 512, true},
    {"0.5b", 1024, 2816, 24, 16, 151936, true},
    {"1.8b", 2048, 5504, 24, 16, 151936, false},
};

struct Vision {
  int64_t hidden = 1024, intermediate = 4096, layers = 23, heads = 16, image = 336, patch = 14;
};

Tensor Weight(at::ScalarType dtype, at::IntArrayRef sizes) {
  return at::empty(sizes, dtype).uniform_(-0.03, 0.03);
}

// [rows, heads * d] of `batch` sequences as [batch, heads, rows / batch, d].
Tensor SplitHeads(const Tensor& x, int64_t batch, int64_t heads) {
  return x.view({batch, x.size(0) / batch, heads, x.size(1) / heads}).transpose(1, 2);
}

Tensor MergeHeads(const Tensor& x) {
  return x.transpose(1, 2).reshape({x.size(0) * x.size(2), x.size(1) * x.size(3)});
}

Tensor RmsNorm(const Tensor& x, const Tensor& weight) {
  const Tensor wide = x.to(at::kFloat);
  const Tensor scale = at::rsqrt(wide.pow(2).mean(-1, /*keepdim=*/true) + 1e-6);
  return (wide * scale).to(x.scalar_type()) * weight;
}

Tensor Rotate(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const std::vector<Tensor> halves = x.chunk(2, -1);
  return x * cos + at::cat({-halves[1], halves[0]}, -1) * sin;
}

class LanguageModel {
 public:
  LanguageModel(const Shape& shape, at::ScalarType dtype) : shape_(shape), dtype_(dtype) {
    const int64_t h = shape.hidden;
    embedding_ = Weight(dtype, {shape.vocab_rows, h});
    head_ = shape.tied ? embedding_ : Weight(dtype, {shape.vocab_rows, h});
    norm_ = at::ones({h}, dtype);
    for (int64_t i = 0; i < shape.layers; ++i) {
      layers_.push_back({norm_,
                         norm_,
                         Weight(dtype, {h, h}),
                         Weight(dtype, {h, h}),
                         Weight(dtype, {h, h}),
                         Weight(dtype, {h}),
                         Weight(dtype, {h}),
                         Weight(dtype, {h}),
                         Weight(dtype, {h, h}),
                         Weight(dtype, {shape.intermediate, h}),
                         Weight(dtype, {shape.intermediate, h}),
                         Weight(dtype, {h, shape.intermediate}),
                         {},
                         {}});
    }
    const int64_t d = h / shape.heads;
    const Tensor frequency = at::pow(1e6, at::arange(0, d, 2, at::kFloat) / -double(d));
    const Tensor angle = at::outer(at::arange(kContext + kDecodeSteps, at::kFloat), frequency);
    cos_ = at::cat({angle, angle}, 1).cos().to(dtype);
    sin_ = at::cat({angle, angle}, 1).sin().to(dtype);
  }

  // A KV cache of `batch` sequences; its first kContext positions count as computed.
  void Reserve(int64_t batch) {
    for (Layer& layer : layers_) {
      for (Tensor* cache : {&layer.keys, &layer.values}) {
        *cache = Tensor();  // the old one goes before the new one comes
        *cache = Weight(
            dtype_, {batch, shape_.heads, kContext + kDecodeSteps, shape_.hidden / shape_.heads});
      }
    }
  }

  // One forward of ids [batch * n] whose sequences have `position` tokens already: logits of each
  // sequence's last token.
  Tensor Forward(const Tensor& ids, int64_t batch, int64_t position) {
    const int64_t count = ids.size(0) / batch;
    const Tensor cos = cos_.narrow(0, position, count);
    const Tensor sin = sin_.narrow(0, position, count);
    Tensor x = at::embedding(embedding_, ids);
    for (Layer& layer : layers_) {
      x = x + Attention(layer, RmsNorm(x, layer.attention_norm), batch, position, cos, sin);
      const Tensor y = RmsNorm(x, layer.mlp_norm);
      x = x + at::linear(at::silu(at::linear(y, layer.gate)) * at::linear(y, layer.up), layer.down);
    }
    const Tensor last = x.view({batch, count, shape_.hidden}).select(1, count - 1);
    return at::linear(RmsNorm(last, norm_), head_);
  }

  const Shape& shape() const { return shape_; }

 private:
  struct Layer {
    Tensor attention_norm, mlp_norm, q, k, v, q_bias, k_bias, v_bias, o, gate, up, down;
    Tensor keys, values;  // [batch, heads, positions, d]
  };

  Tensor Attention(Layer& layer,
                   const Tensor& x,
                   int64_t batch,
                   int64_t position,
                   const Tensor& cos,
                   const Tensor& sin) {
    const int64_t heads = shape_.heads;
    const Tensor q =
        Rotate(SplitHeads(at::linear(x, layer.q, layer.q_bias), batch, heads), cos, sin);
    const Tensor k =
        Rotate(SplitHeads(at::linear(x, layer.k, layer.k_bias), batch, heads), cos, sin);
    const Tensor v = SplitHeads(at::linear(x, layer.v, layer.v_bias), batch, heads);
    const int64_t count = q.size(2);
    layer.keys.narrow(2, position, count).copy_(k);
    layer.values.narrow(2, position, count).copy_(v);
    const Tensor mixed =
        at::scaled_dot_product_attention(q,
                                         layer.keys.narrow(2, 0, position + count),
                                         layer.values.narrow(2, 0, position + count),
                                         /*attn_mask=*/{},
                                         /*dropout_p=*/0.0,
                                         /*is_causal=*/count > 1);
    return at::linear(MergeHeads(mixed), layer.o);
  }

  Shape shape_;
  at::ScalarType dtype_;
  Tensor embedding_, head_, norm_, cos_, sin_;
  std::vector<Layer> layers_;
};

class VisionTower {
 public:
  explicit VisionTower(at::ScalarType dtype) {
    const int64_t h = vision_.hidden;
    const int64_t side = vision_.image / vision_.patch;
    patches_ = Weight(dtype, {h, 3, vision_.patch, vision_.patch});
    class_ = Weight(dtype, {1, h});
    positions_ = Weight(dtype, {side * side + 1, h});
    norm_ = at::ones({h}, dtype);
    const Tensor bias = Weight(dtype, {h});
    for (int64_t i = 0; i < vision_.layers; ++i) {
      layers_.push_back({Weight(dtype, {h, h}),
                         Weight(dtype, {h, h}),
                         Weight(dtype, {h, h}),
                         Weight(dtype, {h, h}),
                         Weight(dtype, {vision_.intermediate, h}),
                         Weight(dtype, {h, vision_.intermediate}),
                         bias,
                         Weight(dtype, {vision_.intermediate})});
    }
  }

  // pixels [1, 3, image, image] -> features [577, hidden] of the last layer but one.
  Tensor Forward(const Tensor& pixels) {
    const Tensor embedded = at::conv2d(pixels, patches_, {}, vision_.patch).flatten(2)[0].t();
    Tensor x = Norm(at::cat({class_, embedded}) + positions_);
    for (const Layer& layer : layers_) {
      const Tensor y = Norm(x);
      const Tensor mixed = at::scaled_dot_product_attention(
          SplitHeads(at::linear(y, layer.q, layer.bias), 1, vision_.heads),
          SplitHeads(at::linear(y, layer.k, layer.bias), 1, vision_.heads),
          SplitHeads(at::linear(y, layer.v, layer.bias), 1, vision_.heads));
      x = x + at::linear(MergeHeads(mixed), layer.o, layer.bias);
      const Tensor wide = at::linear(Norm(x), layer.up, layer.up_bias);
      x = x + at::linear(wide * at::sigmoid(wide * 1.702), layer.down, layer.bias);
    }
    return x;
  }

 private:
  struct Layer {
    Tensor q, k, v, o, up, down, bias, up_bias;
  };

  Tensor Norm(const Tensor& x) const { return at::layer_norm(x, {vision_.hidden}, norm_, norm_); }

  Vision vision_;
  Tensor patches_, class_, positions_, norm_;
  std::vector<Layer> layers_;
};

// Seconds of each repeat, after one that is not counted (unless it takes so long that it is the
// only one).
std::vector<double> Measure(int repeats, const std::function<void()>& run) {
  std::vector<double> samples;
  double total = 0;
  for (int i = 0; i <= repeats && total < kMaxSeconds; ++i) {
    const Clock::time_point start = Clock::now();
    run();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    total += seconds;
    if (i > 0 || seconds >= kMaxSeconds) samples.push_back(seconds);
  }
  return samples;
}

void PrintFigure(const std::string& name, const std::vector<double>& values, bool first) {
  std::printf("%s\n  \"%s\": [", first ? "" : ",", name.c_str());
  for (size_t i = 0; i < values.size(); ++i) std::printf("%s%.4f", i > 0 ? ", " : "", values[i]);
  std::printf("]");
  std::fflush(stdout);
}

void PrintTokensPerSecond(const std::string& name,
                          std::vector<double> seconds,
                          int64_t tokens,
                          bool first) {
  for (double& value : seconds) value = static_cast<double>(tokens) / value;
  PrintFigure(name, seconds, first);
}

Tensor RandomIds(int64_t count, const Shape& shape) {
  return at::randint(shape.vocab_rows, {count}, at::kLong);
}

void MeasureLanguageModel(LanguageModel& model, int repeats) {
  model.Reserve(1);
  for (const int64_t tokens : {int64_t{512}, kContext}) {
    const Tensor ids = RandomIds(tokens, model.shape());
    PrintTokensPerSecond("prefill_" + std::to_string(tokens),
                         Measure(repeats, [&] { model.Forward(ids, 1, 0); }),
                         tokens,
                         tokens == 512);
  }
  for (const int64_t batch : {1, 4, 16}) {
    model.Reserve(batch);
    const Tensor ids = RandomIds(batch, model.shape());
    const auto decode = [&] {
      for (int64_t i = 0; i < kDecodeSteps; ++i) model.Forward(ids, batch, kContext + i);
    };
    PrintTokensPerSecond(
        "decode_" + std::to_string(batch), Measure(repeats, decode), batch * kDecodeSteps, false);
  }
}

void MeasureVisionTower(at::ScalarType dtype, int repeats) {
  VisionTower tower(dtype);
  const Tensor pixels = at::rand({1, 3, 336, 336}).to(dtype);
  std::vector<double> samples = Measure(repeats, [&] { tower.Forward(pixels); });
  for (double& value : samples) value *= 1000;
  PrintFigure("vision_ms", samples, true);
}

int Run(const std::string& model, const std::string& type, int repeats) {
  const c10::InferenceMode no_gradients;
  if (type != "float32" && type != "bfloat16") return 2;
  const at::ScalarType dtype = type == "float32" ? at::kFloat : at::kBFloat16;
  if (model == "vision") {
    std::printf("{");
    MeasureVisionTower(dtype, repeats);
    std::printf("\n}\n");
    return 0;
  }
  for (const Shape& shape : kShapes) {
    if (model != shape.name) continue;
    LanguageModel language_model(shape, dtype);
    std::printf("{");
    MeasureLanguageModel(language_model, repeats);
    std::printf("\n}\n");
    return 0;
  }
  return 2;
}

}  // namespace
}  // namespace parrot

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--version") {
    std::printf("%s\n", TORCH_VERSION);
    return 0;
  }
  int status = 2;
  if (argc >= 3 && argc <= 5) {
    if (argc > 3) at::set_num_threads(std::atoi(argv[3]));
    try {
      status = parrot::Run(argv[1], argv[2], argc > 4 ? std::atoi(argv[4]) : 3);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "torch_eager_bench: %s\n", error.what());
      return 1;
    }
  }
  if (status == 2) {
    std::fprintf(stderr,
                 "usage: torch_eager_bench tiny|0.5b|1.8b|vision float32|bfloat16 [THREADS "
                 "[REPEATS]]\n");
  }
  return status;
}
