#include "eval/sample_log.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using json = nlohmann::ordered_json;

// Ten lines of the longest answers for each row of the largest data set.
constexpr uintmax_t kMaxLogBytes = uintmax_t{1} << 32;

absl::Status Invalid(int64_t line, std::string_view what) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("line ", line, ": ", std::string(what)),
                     {.reason = "INVALID_LOG", .value = absl::StrCat(line)});
}

absl::Status NotWritten(const std::string& path) {
  return ErrorStatus(absl::StatusCode::kUnavailable,
                     absl::StrCat("cannot write ", path),
                     {.reason = "FILE_NOT_WRITTEN"});
}

std::string Line(const json& object) {
  return object.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace) + "\n";
}

json LetterJson(std::optional<char> letter) {
  return letter.has_value() ? json(std::string(1, *letter)) : json();
}

json SampleJson(const Sample& sample) {
  json object = {{"dataset", sample.dataset},
                 {"id", sample.index},
                 {"prompt_sha256", sample.prompt_sha256},
                 {"status", sample.failed() ? "failed" : "ok"}};
  if (sample.failed()) {
    object["error"] = {{"code", sample.error_code},
                       {"reason", sample.error_reason},
                       {"message", sample.error_message}};
  } else {
    object["raw"] = sample.raw;
    object["finish_reason"] = sample.finish_reason;
    object["prompt_tokens"] = sample.prompt_tokens;
    object["completion_tokens"] = sample.completion_tokens;
    object["expert_weights"] = sample.expert_weights;
  }
  if (sample.letter.has_value()) {
    object["choice"] = LetterJson(sample.letter);
    json& probabilities = object["option_probability"] = json::object();
    for (const auto& [letter, value] : sample.option_probability) {
      probabilities[std::string(1, letter)] = value;
    }
  }
  object["latency_s"] = sample.latency_s;
  object["attempts"] = sample.num_attempts;
  return object;
}

json JudgedJson(const JudgedSample& judged) {
  json object = SampleJson(*judged.sample);
  object["answer"] = judged.answer;
  if (judged.sample->failed()) {
    object["hit"] = nullptr;
    return object;
  }
  object["prediction"] = judged.prediction;
  object["inferred"] = LetterJson(judged.inferred);
  object["hit"] = judged.is_right ? 1 : 0;
  return object;
}

// nlohmann throws what is missing or of another type; Load catches it.
Sample SampleOf(const json& object) {
  Sample sample{.dataset = object.at("dataset"),
                .index = object.at("id"),
                .prompt_sha256 = object.at("prompt_sha256"),
                .latency_s = object.at("latency_s"),
                .num_attempts = object.at("attempts")};
  if (object.at("status") == "failed") {
    sample.error_code = object.at("error").at("code");
    return sample;
  }
  sample.raw = object.at("raw");
  sample.finish_reason = object.at("finish_reason");
  sample.prompt_tokens = object.at("prompt_tokens");
  sample.completion_tokens = object.at("completion_tokens");
  sample.expert_weights = object.at("expert_weights").get<std::vector<double>>();
  if (object.contains("choice")) {
    sample.letter = object.at("choice").get<std::string>().at(0);
    for (const auto& [letter, value] : object.at("option_probability").items()) {
      sample.option_probability[letter.at(0)] = value;
    }
  }
  return sample;
}

absl::StatusOr<std::string> ReadLog(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return std::string();
  if (size > kMaxLogBytes) {
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("more than ", kMaxLogBytes, " bytes"),
                       {.reason = "INVALID_LOG", .limit = absl::StrCat(kMaxLogBytes)});
  }
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

SampleLog::SampleLog(std::string path, std::string settings)
    : path_(std::move(path)), settings_(std::move(settings)) {}

SampleLog::~SampleLog() {
  if (file_ != nullptr) std::fclose(file_);
}

absl::StatusOr<std::unique_ptr<SampleLog>> SampleLog::Open(const std::string& path,
                                                           const std::string& settings) {
  std::unique_ptr<SampleLog> log(new SampleLog(path, settings));
  ASSIGN_OR_RETURN(const std::string text, ReadLog(path));
  RETURN_IF_ERROR(log->Load(text));
  std::string lines;
  for (const auto& [key, sample] : log->samples_) lines += Line(SampleJson(sample));
  RETURN_IF_ERROR(log->Rewrite(lines));
  return log;
}

absl::Status SampleLog::Load(const std::string& text) {
  std::string_view rest = text;
  for (int64_t number = 1; rest.find('\n') != std::string_view::npos; ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() + 1);
    if (number == 1) {
      if (line == settings_) continue;
      return ErrorStatus(absl::StatusCode::kFailedPrecondition,
                         "the samples are of other settings; give another folder",
                         {.reason = "OTHER_SETTINGS"});
    }
    try {
      Sample sample = SampleOf(json::parse(line));
      if (sample.failed()) continue;
      SampleKey key{sample.dataset, sample.index};
      samples_.insert_or_assign(std::move(key), std::move(sample));
    } catch (const std::exception&) {
      return Invalid(number, "not a sample");
    }
  }
  return absl::OkStatus();
}

absl::Status SampleLog::Rewrite(const std::string& lines) {
  if (file_ != nullptr) std::fclose(file_);
  file_ = nullptr;
  const std::string draft = path_ + ".new";
  std::ofstream file(draft, std::ios::binary | std::ios::trunc);
  file << settings_ << "\n" << lines;
  file.close();
  std::error_code error;
  if (file.good()) std::filesystem::rename(draft, path_, error);
  if (!file.good() || error) return NotWritten(path_);
  file_ = std::fopen(path_.c_str(), "ab");
  return file_ == nullptr ? NotWritten(path_) : absl::OkStatus();
}

absl::Status SampleLog::Append(Sample sample) {
  const std::string line = Line(SampleJson(sample));
  if (file_ == nullptr || std::fwrite(line.data(), 1, line.size(), file_) != line.size() ||
      std::fflush(file_) != 0) {
    return NotWritten(path_);
  }
  SampleKey key{sample.dataset, sample.index};
  samples_.insert_or_assign(std::move(key), std::move(sample));
  return absl::OkStatus();
}

absl::Status SampleLog::Finish(const std::vector<JudgedSample>& judged) {
  std::map<const Sample*, const JudgedSample*> judgements;
  for (const JudgedSample& sample : judged) judgements[sample.sample] = &sample;
  std::string lines;
  for (const auto& [key, sample] : samples_) {
    const auto judgement = judgements.find(&sample);
    lines +=
        Line(judgement == judgements.end() ? SampleJson(sample) : JudgedJson(*judgement->second));
  }
  return Rewrite(lines);
}

}  // namespace parrot
