// An evaluation as a whole: how questions were asked and answers judged, and what came out for each
// data set. Pure functions of data sets and samples; thread-safe.
#ifndef PARROT_EVAL_EVALUATION_H_
#define PARROT_EVAL_EVALUATION_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eval/dataset.h"
#include "eval/sample_log.h"
#include "eval/scores.h"

namespace parrot {

// Which name the prompt's instruction goes by (eval/prompt.h).
enum class Naming {
  kPerLanguage,  // the data set's: "MMMB_pt" asks in Portuguese
  kAllInOne,     // the one of all languages together: only Chinese characters change the English
};
// How a picture is sent.
enum class JpegMode {
  kOriginal,   // as it is in the data set
  kReference,  // decoded and saved again as JPEG of quality 75, as the reference does
};
// What the model is asked for.
enum class Scoring {
  kGenerate,  // text, from which an option is inferred
  kChoices,   // the most probable of the options' letters; open questions are generated
};

std::string_view NamingName(Naming naming);     // "per-language", "all-in-one"
std::string_view JpegModeName(JpegMode mode);   // "original", "reference"
std::string_view ScoringName(Scoring scoring);  // "generate", "choices"

struct EvalSettings {
  Naming naming = Naming::kPerLanguage;
  JpegMode jpeg = JpegMode::kOriginal;
  Scoring scoring = Scoring::kGenerate;
  RuleSet rules = RuleSet::kVk;
  std::optional<Protocol> protocol;  // none: by the data set's name
  std::optional<OpenRule> open;      // none: by the data set
  int32_t max_tokens = 512;
};

// Who answered.
struct EvalModel {
  std::string name;
  std::string revision;
  std::string dtype;
  std::string device;
  std::string server_version;
  std::string client_version;
};

// "MMMB" for "MMMB_pt" under kAllInOne, else the name itself.
std::string GivenName(const std::string& dataset_name, Naming naming);

// The first line of a sample log: whatever changes the questions or the answers, as JSON.
std::string SettingsLine(const EvalSettings& settings, const EvalModel& model);

struct DatasetResult {
  std::string name;
  std::string language;  // empty: the name tells none
  Protocol protocol = Protocol::kVanilla;
  OpenRule open = OpenRule::kNever;
  int64_t num_rows = 0;  // of the data set (--limit applied)
  int64_t num_answered = 0;
  int64_t num_failed = 0;
  int64_t num_not_inferable = 0;  // answered, with options, and none could be told
  int64_t num_right = 0;          // of those that count in the protocol
  int64_t num_counted = 0;
  int64_t num_rows_without_image = 0;
  int64_t num_missing_options = 0;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  double mean_latency_s = 0;
  std::vector<double> mean_expert_weights;
  AccuracyTable table;

  // Whether every row has an answer.
  bool complete() const { return num_answered == num_rows; }
  // Over all splits; none if nothing counts.
  std::optional<double> accuracy() const;
};

struct Evaluation {
  EvalSettings settings;
  EvalModel model;
  std::vector<DatasetResult> datasets;
  std::vector<JudgedSample> judged;  // borrowed from the samples, by data set and index

  bool complete() const;
};

// Judges what there is; rows without a sample are told by num_answered. `samples` outlive the
// result.
absl::StatusOr<Evaluation> Evaluate(std::span<const Dataset> datasets,
                                    const std::map<SampleKey, Sample>& samples,
                                    const EvalSettings& settings,
                                    const EvalModel& model);

}  // namespace parrot

#endif  // PARROT_EVAL_EVALUATION_H_
