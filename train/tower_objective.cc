#include "train/tower_objective.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <utility>

#include "ATen/CPUGeneratorImpl.h"
#include "ATen/TensorOperators.h"
#include "ATen/ops/cross_entropy_loss.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "train/host_tensor.h"

namespace parrot {
namespace {

struct TowerBatch : MicroBatch {
  std::vector<std::shared_ptr<const ImagePixels>> pictures;
  std::vector<std::vector<int64_t>> targets;  // per head, picture by picture
};

constexpr int64_t kDigits = 10;
constexpr int64_t kCounts = kSceneCells + 1;
// Order of the heads; counts per shape and per colour follow.
enum HeadIndex { kKind, kColor, kSize, kCell, kBackground, kDigit, kCount, kFirstOther };

// Of the rows whose target is not 0 (nothing), for heads of patches; of all rows otherwise.
double ShareRight(const at::Tensor& logits, const at::Tensor& targets, bool occupied_only) {
  const at::Tensor right = logits.argmax(-1).eq(targets);
  if (!occupied_only) return right.to(at::kDouble).mean().item<double>();
  const at::Tensor counted = targets.ne(0);
  const double count = counted.sum().item<double>();
  return count == 0.0 ? 1.0 : (right & counted).sum().item<double>() / count;
}

}  // namespace

TowerObjective::TowerObjective(const SceneLabels& labels,
                               std::string image_dir,
                               const PictureReader& reader,
                               const TrainingModel& model,
                               uint64_t seed)
    : labels_(labels), image_dir_(std::move(image_dir)), reader_(reader), model_(model) {
  const auto count = [](const std::vector<std::string>& names) {
    return static_cast<int64_t>(names.size());
  };
  AddHead("kind", true, 1 + count(labels.shapes) + kDigits, seed);
  AddHead("color", true, 1 + count(labels.colors), seed);
  AddHead("size", true, 1 + count(labels.sizes), seed);
  AddHead("cell", true, 1 + kSceneCells, seed);
  AddHead("background", false, count(labels.backgrounds), seed);
  AddHead("digit", false, 1 + kDigits, seed);
  AddHead("count", false, kCounts, seed);
  for (const std::string& shape : labels.shapes) AddHead("count_" + shape, false, kCounts, seed);
  for (const std::string& color : labels.colors) AddHead("count_" + color, false, kCounts, seed);
}

void TowerObjective::AddHead(std::string name, bool per_patch, int64_t classes, uint64_t seed) {
  const int64_t hidden = model_.model().config().vision.hidden_size;
  const at::Generator generator = at::detail::createCPUGenerator(seed + heads_.size());
  const double bound = 1.0 / std::sqrt(static_cast<double>(hidden));
  const auto trained = [&](const char* suffix, at::Tensor master) {
    const ReferenceBackend& backend = model_.backend();
    master = master.to(backend.device());
    at::Tensor compute = master.to(backend.compute_dtype());
    compute.set_requires_grad(true);
    return TrainedTensor{.name = absl::StrCat("head.", name, ".", suffix),
                         .compute = compute,
                         .master = backend.compute_dtype() == at::kFloat ? compute : master};
  };
  Head head = {.name = name, .per_patch = per_patch, .classes = classes};
  head.weight = trained(
      "weight", at::empty({classes, hidden}, at::kFloat).uniform_(-bound, bound, generator));
  head.bias = trained("bias", at::zeros({classes}, at::kFloat));
  heads_.push_back(std::move(head));
}

std::vector<TrainedTensor> TowerObjective::head_tensors() const {
  std::vector<TrainedTensor> tensors;
  for (const Head& head : heads_) tensors.insert(tensors.end(), {head.weight, head.bias});
  return tensors;
}

std::vector<std::string> TowerObjective::metric_names() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < kFirstOther; ++i) names.push_back("right_" + heads_[i].name);
  return names;
}

void TowerObjective::AppendTargets(const SceneLabel& scene,
                                   std::vector<std::vector<int64_t>>* targets) const {
  struct Cell {
    int64_t kind = 0, color = 0, size = 0;
  };
  std::array<Cell, kSceneCells> cells = {};
  std::vector<int64_t> shape_counts(labels_.shapes.size()), color_counts(labels_.colors.size());
  for (const SceneFigure& figure : scene.figures) {
    cells[figure.cell] = {1 + figure.shape, 1 + figure.color, 1 + figure.size};
    ++shape_counts[figure.shape];
    ++color_counts[figure.color];
  }
  if (scene.digit >= 0 && scene.digit_cell >= 0) {
    cells[scene.digit_cell].kind = 1 + static_cast<int64_t>(labels_.shapes.size()) + scene.digit;
  }
  const int64_t side = model_.model().config().vision.patches_per_side();
  for (int64_t patch = 0; patch < side * side; ++patch) {
    const int cell_idx = CellOfPatch(patch, side);
    const Cell& cell = cells[cell_idx];
    (*targets)[kKind].push_back(cell.kind);
    (*targets)[kColor].push_back(cell.color);
    (*targets)[kSize].push_back(cell.size);
    (*targets)[kCell].push_back(cell.kind == 0 ? 0 : 1 + cell_idx);
  }
  (*targets)[kBackground].push_back(scene.background);
  (*targets)[kDigit].push_back(1 + scene.digit);
  (*targets)[kCount].push_back(static_cast<int64_t>(scene.figures.size()));
  size_t head = kFirstOther;
  for (const int64_t count : shape_counts) (*targets)[head++].push_back(count);
  for (const int64_t count : color_counts) (*targets)[head++].push_back(count);
}

absl::StatusOr<std::unique_ptr<MicroBatch>> TowerObjective::Prepare(
    std::span<const int64_t> items) const {
  auto batch = std::make_unique<TowerBatch>();
  batch->targets.resize(heads_.size());
  for (const int64_t item : items) {
    const SceneLabel& scene = labels_.scenes[static_cast<size_t>(item)];
    batch->pictures.push_back(
        reader_.Read((std::filesystem::path(image_dir_) / scene.image).string()));
    AppendTargets(scene, &batch->targets);
  }
  return batch;
}

MicroBatchLoss TowerObjective::Loss(MicroBatch& micro_batch) const {
  const auto& batch = static_cast<TowerBatch&>(micro_batch);
  std::vector<const ImagePixels*> pixels;
  for (const auto& picture : batch.pictures) pixels.push_back(picture.get());
  const at::Tensor features = model_.VisionFeatures(pixels);  // [pictures, tokens, hidden]
  const int64_t patches = features.size(1) - 1;
  const at::Tensor class_rows = features.select(1, 0);
  const at::Tensor patch_rows = features.narrow(1, 1, patches).reshape({-1, features.size(2)});
  MicroBatchLoss result = {.targets = features.size(0),
                           .rows = features.size(0) * features.size(1),
                           .metric_weight = static_cast<double>(features.size(0))};
  for (size_t i = 0; i < heads_.size(); ++i) {
    const Head& head = heads_[i];
    const at::Tensor logits = at::linear(
        head.per_patch ? patch_rows : class_rows, head.weight.compute, head.bias.compute);
    const at::Tensor targets = UploadInt64(batch.targets[i], features.device());
    const at::Tensor loss = at::cross_entropy_loss(logits.to(at::kFloat), targets);
    result.loss = result.loss.defined() ? result.loss + loss : loss;
    if (i < kFirstOther) {
      result.metrics.push_back(ShareRight(logits.detach(), targets, head.per_patch));
    }
  }
  return result;
}

}  // namespace parrot
