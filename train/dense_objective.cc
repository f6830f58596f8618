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
      if (!forms.is_object()) return absl::InvalidArgumentError("lexicon: a word is no object");
      for (const auto& [language, form] : forms.items()) {
        if (!form.is_string()) return absl::InvalidArgumentError("lexicon: a form is no text");
        const std::string word = form.get<std::string>();
        ASSIGN_OR_RETURN(std::vector<TokenId> ids, tokenizer.Encode(absl::StrCat(" ", word)));
        ASSIGN_OR_RETURN(const std::vector<TokenId> alone, tokenizer.Encode(word));
        ids.insert(ids.end(), alone.begin(), alone.end());
        words[absl::StrCat(kind, "/", name)][language] = std::move(ids);
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
  for (const TrainingSample& sample : samples) {
    if (!sample.language.empty()) objective->languages_.try_emplace(sample.language, 0);
  }
  int64_t num_languages = 0;
  for (auto& [language, index] : objective->languages_) index = ++num_languages;
  const at::NoGradGuard no_grad;
  const std::unique_ptr<Workspace> workspace = model.backend().MakeWorkspace({});
  std::vector<at::Tensor> words;
  for (const std::string& word : NeededWords(labels)) {
    const auto it = lexicon.find(word);
    if (it == lexicon.end() || it->second.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("the lexicon has no word for ", word));
    }
    std::map<std::string, at::Tensor> forms;
    std::vector<at::Tensor> all;
    for (const auto& [language, ids] : it->second) {
      forms[language] = model.model()
                            .language()
                            .Embed(model.backend().UploadIds(ids, *workspace), *workspace)
                            .to(at::kFloat)
                            .sum(0);
      all.push_back(forms[language]);
    }
    std::vector<at::Tensor> rows = {at::stack(all).mean(0)};
    for (const auto& [language, index] : objective->languages_) {
      if (!forms.contains(language)) {
        return absl::InvalidArgumentError(
            absl::StrCat("the lexicon has no word for ", word, " in ", language));
      }
      rows.push_back(forms[language]);
    }
    objective->words_[word] = static_cast<int64_t>(words.size());
    words.push_back(at::stack(rows));
  }
  objective->tables_ = at::stack(words, 1).contiguous();
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
  std::vector<int64_t> row_idx, word_idx, translated_idx;  // rows, words of tables_ in one list
  int64_t num_rows = 0;
  for (const int64_t item : batch.items) {
    const TrainingSample& sample = samples_[static_cast<size_t>(item)];
    const auto language = languages_.find(sample.language);
    const int64_t table = language == languages_.end() ? 0 : language->second * tables_.size(1);
    std::vector<std::vector<int64_t>> rows;
    AppendRows(labels_.scenes[static_cast<size_t>(labels_.Find(sample.image_path))], &rows);
    for (const std::vector<int64_t>& row : rows) {
      for (const int64_t word : row) {
        row_idx.push_back(num_rows);
        word_idx.push_back(word);
        translated_idx.push_back(table + word);
      }
      ++num_rows;
    }
  }
  const at::Device device = tables_.device();
  const at::Tensor table = tables_.flatten(0, 1);
  const auto sums = [&](const std::vector<int64_t>& words) {
    return at::zeros({num_rows, table.size(1)}, table.options())
        .index_add(
            0, UploadInt64(row_idx, device), table.index_select(0, UploadInt64(words, device)));
  };
  const TrainingModel::Visual visual = RunPictureText(batch, pictures_, model_);
  const auto unexplained = [](const at::Tensor& value, const at::Tensor& target) {
    const at::Tensor variance = (target - target.mean(0, /*keepdim=*/true)).square().mean();
    return (value.to(at::kFloat) - target).square().mean() / variance;
  };
  const at::Tensor projector = unexplained(visual.projected, sums(word_idx));
  const at::Tensor moe = unexplained(visual.tokens, sums(translated_idx));
  return {.loss = projector + moe,
          .targets = num_rows,
          .rows = num_rows,
          .metrics = {1.0 - projector.item<double>(), 1.0 - moe.item<double>()},
          .metric_weight = static_cast<double>(num_rows)};
}

}  // namespace parrot
