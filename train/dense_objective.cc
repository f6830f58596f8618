#include "train/dense_objective.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"
#include "train/host_tensor.h"
#include "train/picture_text_batch.h"

namespace parrot {
namespace {

using Json = nlohmann::json;

// Every name that the labels use.
std::vector<std::string> NeededWords(const SceneLabels& labels) {
  std::vector<std::string> words;
  for (const auto& [kind, names] : {std::pair("shape/", &labels.shapes),
                                    std::pair("color/", &labels.colors),
                                    std::pair("size/", &labels.sizes),
                                    std::pair("background/", &labels.backgrounds)}) {
    for (const std::string& name : *names) words.push_back(absl::StrCat(kind, name));
  }
  for (int cell = 0; cell < kSceneCells; ++cell) words.push_back(absl::StrCat("cell/", cell));
  for (int digit = 0; digit < 10; ++digit) words.push_back(absl::StrCat("digit/", digit));
  return words;
}

}  // namespace

absl::StatusOr<WordIds> LoadLexicon(const std::string& path, const Tokenizer& tokenizer) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError("the lexicon cannot be read");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("the lexicon is no JSON object");
  WordIds words;
  for (const auto& [kind, names] : json.items()) {
    if (!names.is_object())
      return absl::InvalidArgumentError(absl::StrCat("lexicon: ", kind, " is no object"));
    for (const auto& [name, forms] : names.items()) {
      for (const Json& form : forms) {
        if (!form.is_string()) return absl::InvalidArgumentError("lexicon: a word is no text");
        ASSIGN_OR_RETURN(std::vector<TokenId> ids,
                         tokenizer.Encode(absl::StrCat(" ", form.get<std::string>())));
        words[absl::StrCat(kind, "/", name)].push_back(std::move(ids));
      }
    }
  }
  return words;
}

absl::StatusOr<std::unique_ptr<DenseObjective>> DenseObjective::Make(
    const std::vector<TrainingSample>& samples,
    const SampleEncoder& encoder,
    const SceneLabels& labels,
    const WordIds& lexicon,
    FeatureCache& pictures,
    const TrainingModel& model) {
  std::unique_ptr<DenseObjective> objective(
      new DenseObjective(samples, encoder, labels, pictures, model));
  const at::NoGradGuard no_grad;
  const std::unique_ptr<Workspace> workspace = model.backend().MakeWorkspace({});
  std::vector<at::Tensor> rows;
  for (const std::string& word : NeededWords(labels)) {
    const auto it = lexicon.find(word);
    if (it == lexicon.end() || it->second.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("the lexicon has no word for ", word));
    }
    at::Tensor sum;
    for (const std::vector<TokenId>& ids : it->second) {
      const at::Tensor form = model.model()
                                  .language()
                                  .Embed(model.backend().UploadIds(ids, *workspace), *workspace)
                                  .to(at::kFloat)
                                  .sum(0);
      sum = sum.defined() ? sum + form : form;
    }
    objective->words_[word] = static_cast<int64_t>(rows.size());
    rows.push_back(sum / static_cast<double>(it->second.size()));
  }
  objective->table_ = at::stack(rows);
  return objective;
}

void DenseObjective::AppendRows(const SceneLabel& scene,
                                std::vector<std::vector<int64_t>>* rows) const {
  const auto word = [&](const std::string& kind, const std::string& name) {
    return words_.find(absl::StrCat(kind, "/", name))->second;
  };
  const int64_t background = word("background", labels_.backgrounds[scene.background]);
  std::array<std::vector<int64_t>, kSceneCells> cells;
  std::vector<int64_t> all = {background};
  for (const SceneFigure& figure : scene.figures) {
    cells[figure.cell] = {word("shape", labels_.shapes[figure.shape]),
                          word("color", labels_.colors[figure.color]),
                          word("size", labels_.sizes[figure.size]),
                          word("cell", absl::StrCat(figure.cell))};
    all.insert(all.end(), cells[figure.cell].begin(), cells[figure.cell].end());
  }
  if (scene.digit >= 0 && scene.digit_cell >= 0) {
    cells[scene.digit_cell] = {word("digit", absl::StrCat(scene.digit)),
                               word("cell", absl::StrCat(scene.digit_cell))};
    all.push_back(cells[scene.digit_cell].front());
  }
  rows->push_back(std::move(all));
  const int64_t side = model_.model().config().vision.patches_per_side();
  for (int64_t patch = 0; patch < side * side; ++patch) {
    const std::vector<int64_t>& cell = cells[CellOfPatch(patch, side)];
    rows->push_back(cell.empty() ? std::vector<int64_t>{background} : cell);
  }
}

absl::StatusOr<std::unique_ptr<MicroBatch>> DenseObjective::Prepare(
    std::span<const int64_t> items) const {
  ASSIGN_OR_RETURN(std::unique_ptr<PictureTextBatch> batch,
                   PreparePictureText(samples_, encoder_, pictures_, items));
  for (const int64_t item : items) {
    const std::string& path = samples_[static_cast<size_t>(item)].image_path;
    if (labels_.Find(path) < 0) {
      return absl::InvalidArgumentError("no scene for picture " +
                                        std::filesystem::path(path).filename().string());
    }
  }
  return batch;
}

MicroBatchLoss DenseObjective::Loss(MicroBatch& micro_batch) const {
  auto& batch = static_cast<PictureTextBatch&>(micro_batch);
  std::vector<std::vector<int64_t>> rows;
  for (const int64_t item : batch.items) {
    const int64_t scene = labels_.Find(samples_[static_cast<size_t>(item)].image_path);
    AppendRows(labels_.scenes[static_cast<size_t>(scene)], &rows);
  }
  std::vector<int64_t> row_idx, word_idx;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const int64_t word : rows[i]) {
      row_idx.push_back(static_cast<int64_t>(i));
      word_idx.push_back(word);
    }
  }
  const at::Device device = table_.device();
  const auto num_rows = static_cast<int64_t>(rows.size());
  const at::Tensor target = at::zeros({num_rows, table_.size(1)}, table_.options())
                                .index_add(0,
                                           UploadInt64(row_idx, device),
                                           table_.index_select(0, UploadInt64(word_idx, device)));
  const at::Tensor variance = (target - target.mean(0, /*keepdim=*/true)).square().mean();
  const TrainingModel::Visual visual = RunPictureText(batch, pictures_, model_);
  const auto unexplained = [&](const at::Tensor& value) {
    return (value.to(at::kFloat) - target).square().mean() / variance;
  };
  const at::Tensor projector = unexplained(visual.projected);
  const at::Tensor moe = unexplained(visual.tokens);
  return {.loss = projector + moe,
          .targets = num_rows,
          .rows = num_rows,
          .metrics = {1.0 - projector.item<double>(), 1.0 - moe.item<double>()},
          .metric_weight = static_cast<double>(num_rows)};
}

}  // namespace parrot
