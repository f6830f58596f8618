// What became of each question, one JSON object a line, written as the answers come, so that an
// interrupted evaluation goes on where it was. docs/evaluation.md holds the keys.
//
// The first line says how the questions were asked (model, naming, ...); a log that was begun with
// another first line is not gone on with. A last line that was cut off is dropped. How answers were
// judged is not part of it: they are judged again each time, and the log is rewritten with the
// outcome at the end (Finish).
//
//   ASSIGN_OR_RETURN(std::unique_ptr<SampleLog> log, SampleLog::Open(path, settings));
//   ... for each question that log->samples() lacks: RETURN_IF_ERROR(log->Append(sample)) ...
//   RETURN_IF_ERROR(log->Finish(judged));
//
// Confined to one thread at a time.
#ifndef PARROT_EVAL_SAMPLE_LOG_H_
#define PARROT_EVAL_SAMPLE_LOG_H_

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace parrot {

// The request for one row and its outcome.
struct Sample {
  std::string dataset;
  int64_t index = 0;
  std::string prompt_sha256;  // of the text and the picture as sent: hexadecimal
  // Of a failed request; empty: it was answered.
  std::string error_code;    // "UNAVAILABLE"
  std::string error_reason;  // "OVERLOADED"; may be empty
  std::string error_message;
  std::string raw;                            // what the model said
  std::string finish_reason;                  // "stop", "length"
  std::optional<char> letter;                 // scoring by choices: the most probable option
  std::map<char, double> option_probability;  // scoring by choices
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;
  double latency_s = 0;  // as the client saw it, retries included
  int32_t num_attempts = 1;
  std::vector<double> expert_weights;  // of the picture; empty if the model has no experts

  bool failed() const { return !error_code.empty(); }
};

// A judged sample, as Finish writes it.
struct JudgedSample {
  const Sample* sample = nullptr;
  std::string prediction;        // after clean-up
  std::optional<char> inferred;  // of a question with options
  std::string answer;
  bool is_right = false;
};

// Data set and index of a row.
using SampleKey = std::pair<std::string, int64_t>;

class SampleLog {
 public:
  // `settings`: a JSON object, the first line. FAILED_PRECONDITION with reason OTHER_SETTINGS for a
  // log of others; INVALID_ARGUMENT with reason INVALID_LOG and the line for what is none.
  // Rewrites the file without what is dropped: failed samples, which will be asked again, and a
  // last line that is not whole.
  static absl::StatusOr<std::unique_ptr<SampleLog>> Open(const std::string& path,
                                                         const std::string& settings);
  ~SampleLog();
  SampleLog(const SampleLog&) = delete;
  SampleLog& operator=(const SampleLog&) = delete;

  // Replaces a sample of the same row. UNAVAILABLE with reason FILE_NOT_WRITTEN.
  absl::Status Append(Sample sample);
  // Forgets a sample, whose question has changed.
  void Drop(const SampleKey& key) { samples_.erase(key); }
  // Writes everything anew, with the judgement of those samples that have one.
  absl::Status Finish(const std::vector<JudgedSample>& judged);

  const std::map<SampleKey, Sample>& samples() const { return samples_; }

 private:
  SampleLog(std::string path, std::string settings);
  absl::Status Load(const std::string& text);
  absl::Status Rewrite(const std::string& lines);

  const std::string path_;
  const std::string settings_;
  std::map<SampleKey, Sample> samples_;
  std::FILE* file_ = nullptr;  // owned, at the end of path_
};

}  // namespace parrot

#endif  // PARROT_EVAL_SAMPLE_LOG_H_
