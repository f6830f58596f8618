#include "train/world/world_writer.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "model/image/pillow_resample.h"
#include "model/image/png_encoder.h"
#include "train/world/counter_rng.h"
#include "train/world/exam.h"
#include "train/world/painter.h"

namespace parrot {
namespace {

constexpr int kCorpusScenes = 500;

absl::Status NotWritable(const std::string& path, int error) {
  return absl::InternalError("cannot write '" + path + "': " + std::strerror(error));
}

absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? NotWritable(path, error.value()) : absl::OkStatus();
}

// Calls work(i) for each i in [0, count) from several threads; the first error, in order of time,
// ends it.
absl::Status ForEach(int count, int num_threads, const std::function<absl::Status(int)>& work) {
  std::atomic<int> next = 0;
  absl::Mutex mutex;
  absl::Status result;
  const auto run = [&] {
    for (int i = next++; i < count; i = next++) {
      absl::Status status = work(i);
      if (status.ok()) continue;
      const absl::MutexLock lock(&mutex);
      result.Update(status);
      next = count;
    }
  };
  if (num_threads == 0) num_threads = static_cast<int>(std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (int i = 1; i < std::min(num_threads, count); ++i) threads.emplace_back(run);
  run();
  for (std::thread& thread : threads) thread.join();
  return result;
}

// {"shape": {"star": {"en": "star", ...}, ...}, "color", "size", "background", "cell": {"0": ...},
// "digit": {"0": ...}}: the citation form in each language.
std::string LexiconJson(const std::vector<Phrasebook>& books) {
  nlohmann::ordered_json lexicon;
  const auto add = [&](const char* kind, AnswerKind answer_kind, int value, std::string_view name) {
    nlohmann::ordered_json& words = lexicon[kind][std::string(name)];
    for (const Phrasebook& book : books)
      words[std::string(kLanguageCodes[static_cast<size_t>(book.language())])] =
          book.Name({answer_kind, value});
  };
  const auto add_all = [&](const char* kind, AnswerKind answer_kind, const auto& names) {
    int value = 0;
    for (const std::string_view name : names) add(kind, answer_kind, value++, name);
  };
  add_all("shape", AnswerKind::kShape, kShapeNames);
  add_all("color", AnswerKind::kColor, kColorNames);
  add_all("size", AnswerKind::kSize, kSizeNames);
  add_all("background", AnswerKind::kBackground, kBackgroundNames);
  for (int i = 0; i < kNumCells; ++i) add("cell", AnswerKind::kCell, i, std::to_string(i));
  for (int i = 0; i < 10; ++i) add("digit", AnswerKind::kNumber, i, std::to_string(i));
  return lexicon.dump(1) + "\n";
}

// "000042"
std::string Number(int index) {
  char text[16];
  std::snprintf(text, sizeof(text), "%06d", index);
  return text;
}

// Without the empty ones.
std::string JsonList(const std::vector<std::string>& items) {
  std::string text = "[";
  for (const std::string& item : items) {
    if (item.empty()) continue;
    if (text.size() > 1) text += ',';
    text += '\n';
    text += item;
  }
  return text + "\n]\n";
}

std::string Lines(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += item + "\n";
  return text;
}

class WorldWriter {
 public:
  explicit WorldWriter(const WorldOptions& options) : options_(options) {}

  absl::Status WriteTrain() const {
    const std::string dir = options_.output_dir + "/train";
    RETURN_IF_ERROR(MakeFolder(dir + "/images"));
    const auto num_pictures = static_cast<size_t>(options_.num_train);
    const auto per_picture = static_cast<size_t>(options_.dialogs_per_picture);
    std::vector<std::string> scenes(num_pictures);
    std::vector<std::string> captions(num_pictures);
    std::vector<std::string> dialogs(num_pictures * per_picture);
    std::vector<std::string> texts(num_pictures * per_picture);
    RETURN_IF_ERROR(ForEach(options_.num_train, options_.num_threads, [&](int i) {
      const auto index = static_cast<size_t>(i);
      const Scene scene = SceneOf(Split::kTrain, i);
      const std::string image = Number(i) + ".png";
      scenes[index] = SceneJson(scene, image);
      captions[index] = CaptionJson(scene, index, image);
      for (size_t k = index * per_picture; k < (index + 1) * per_picture; ++k) {
        dialogs[k] = DialogJson(scene, k, image);
        texts[k] = TextJson(scene, k);
      }
      return options_.write_images ? WritePicture(Split::kTrain, i, scene, dir + "/images/" + image)
                                   : absl::OkStatus();
    }));
    RETURN_IF_ERROR(WriteWorldFile(dir + "/scenes.jsonl", Lines(scenes)));
    RETURN_IF_ERROR(WriteWorldFile(dir + "/captions.json", JsonList(captions)));
    RETURN_IF_ERROR(WriteWorldFile(dir + "/dialogs.json", JsonList(dialogs)));
    return WriteWorldFile(dir + "/text.json", JsonList(texts));
  }

  absl::Status WriteHeldOut() const {
    const std::string dir = options_.output_dir + "/heldout";
    RETURN_IF_ERROR(MakeFolder(dir + "/images"));
    const auto num_pictures = static_cast<size_t>(options_.num_held_out);
    std::vector<Scene> scenes(num_pictures);
    std::vector<std::string> lines(num_pictures);
    std::vector<std::string> images(num_pictures);
    RETURN_IF_ERROR(
        ForEach(options_.num_held_out, options_.num_threads, [&](int i) -> absl::Status {
          const auto index = static_cast<size_t>(i);
          const std::string image = Number(i) + ".png";
          scenes[index] = SceneOf(Split::kHeldOut, i);
          lines[index] = SceneJson(scenes[index], image);
          ASSIGN_OR_RETURN(const std::string png, Picture(Split::kHeldOut, i, scenes[index]));
          images[index] = absl::Base64Escape(png);
          return options_.write_images ? WriteWorldFile(dir + "/images/" + image, png)
                                       : absl::OkStatus();
        }));
    RETURN_IF_ERROR(WriteWorldFile(dir + "/scenes.jsonl", Lines(lines)));
    return scenes.empty() ? absl::OkStatus() : WriteExam(scenes, images);
  }

  absl::Status WriteLexicon() const {
    return WriteWorldFile(options_.output_dir + "/lexicon.json", LexiconJson(books_));
  }

  // Every question and its answer in every language, and the words around them; whatever the
  // dialogs' options are.
  absl::Status WriteCorpus() const {
    std::string corpus;
    for (int i = 0; i < kCorpusScenes; ++i) {
      const Scene scene = SceneOf(Split::kTrain, i);
      CounterRng rng(options_.seed, RandomStream::kText, static_cast<uint64_t>(i));
      corpus += "system\nYou are a helpful assistant.\nuser\nassistant\n";
      for (int category = 0; category < kNumScoredCategories; ++category) {
        const std::optional<Question> question =
            ProposeQuestion(scene, static_cast<Category>(category), options_.scene, rng);
        if (!question.has_value()) continue;
        const Answer answer = *AnswerTo(scene, *question);
        const int phrasing = rng.Below(kNumTrainedPhrasings);
        const Choices choices = MakeChoices(scene, *question, answer, 4, options_.scene, rng);
        for (const Phrasebook& book : books_) {
          const std::string text = book.Ask(*question, phrasing);
          corpus += text + "\n" + book.Name(answer) + "\n";
          if (category == i % kNumScoredCategories) {
            corpus += ChoiceQuestion(book, text, choices) + "\n" + book.short_suffix() + "\n";
          }
        }
      }
      AppendTalk(scene, rng, &corpus);
    }
    return WriteWorldFile(options_.output_dir + "/corpus.txt", corpus);
  }

 private:
  Scene SceneOf(Split split, int index) const {
    return MakeScene(options_.scene, split, options_.seed, static_cast<uint64_t>(index));
  }

  absl::StatusOr<std::string> Picture(Split split, int index, const Scene& scene) const {
    const RandomStream stream =
        split == Split::kTrain ? RandomStream::kPaint : HeldOutStream(RandomStream::kPaint);
    const int side = options_.scene.picture_px;
    const std::vector<uint8_t> pixels =
        PaintScene(scene, side, CounterRng(options_.seed, stream, static_cast<uint64_t>(index)));
    return EncodePng({.pixels = pixels.data(), .width = side, .height = side});
  }

  absl::Status WritePicture(Split split,
                            int index,
                            const Scene& scene,
                            const std::string& path) const {
    ASSIGN_OR_RETURN(const std::string png, Picture(split, index, scene));
    return WriteWorldFile(path, png);
  }

  // Both are empty where nothing can be asked.
  std::string DialogJson(const Scene& scene, size_t index, std::string_view image) const {
    CounterRng rng(options_.seed, RandomStream::kDialog, index);
    const Sample sample = MakeDialog(scene, books_, options_.scene, options_.dialog, rng);
    if (sample.turns.empty()) return {};
    return SampleJson(sample, "dialog-" + Number(static_cast<int>(index)), image);
  }

  std::string TextJson(const Scene& scene, size_t index) const {
    CounterRng rng(options_.seed, RandomStream::kText, index);
    const Sample sample = MakeTextDialog(scene, books_, options_.scene, options_.dialog, rng);
    if (sample.turns.empty()) return {};
    return SampleJson(sample, "text-" + Number(static_cast<int>(index)), "");
  }

  std::string CaptionJson(const Scene& scene, size_t index, std::string_view image) const {
    CounterRng rng(options_.seed, RandomStream::kCaption, index);
    return SampleJson(MakeCaption(scene, books_, options_.dialog, rng),
                      "caption-" + Number(static_cast<int>(index)),
                      image);
  }

  // Follow-ups and a description in every language.
  void AppendTalk(const Scene& scene, CounterRng& rng, std::string* corpus) const {
    const Figure& figure = scene.figures.front();
    for (const Category category :
         {Category::kFollowColor, Category::kFollowSize, Category::kCaption}) {
      const Question question{.category = category, .shape = figure.shape, .cell = figure.cell};
      const int phrasing = rng.Below(kNumTrainedPhrasings);
      for (const Phrasebook& book : books_) *corpus += book.Ask(question, phrasing) + "\n";
    }
    for (const Phrasebook& book : books_) *corpus += book.Caption(scene) + "\n";
  }

  absl::Status WriteExam(const std::vector<Scene>& scenes,
                         const std::vector<std::string>& images) const {
    const std::string dir = options_.output_dir + "/eval";
    RETURN_IF_ERROR(MakeFolder(dir));
    const std::vector<ExamQuestion> exam =
        MakeExam(scenes, options_.num_questions, options_.scene, options_.seed);
    for (size_t form = 0; form < kNumExamForms; ++form) {
      for (size_t language = 0; language < kNumLanguages; ++language) {
        std::string path = dir + "/";
        path.append(kExamNames[form]).append("_").append(kDatasetCodes[language]).append(".tsv");
        RETURN_IF_ERROR(WriteWorldFile(
            path, ExamTsv(exam, static_cast<ExamForm>(form), books_[language], images)));
      }
    }
    return absl::OkStatus();
  }

  const WorldOptions& options_;
  const std::vector<Phrasebook> books_ = BuiltInPhrasebooks();
};

}  // namespace

absl::Status WriteWorldFile(const std::string& path, std::string_view bytes) {
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file.good() ? absl::OkStatus() : NotWritable(path, errno);
}

absl::Status WriteWorld(const WorldOptions& options) {
  const WorldWriter writer(options);
  RETURN_IF_ERROR(writer.WriteTrain());
  RETURN_IF_ERROR(writer.WriteHeldOut());
  RETURN_IF_ERROR(writer.WriteLexicon());
  return writer.WriteCorpus();
}

}  // namespace parrot
