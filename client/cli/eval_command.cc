#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/report.h"
#include "client/cli/request_builder.h"
#include "client/cli/session.h"
#include "client/conversation.h"
#include "client/eval/eval_runner.h"
#include "client/messages/bounded_file.h"
#include "eval/data_table.h"
#include "eval/dataset.h"
#include "eval/eval_report.h"
#include "eval/evaluation.h"
#include "eval/images/jpeg_resave.h"
#include "eval/prompt.h"
#include "eval/sample_log.h"

namespace parrot {
namespace {

// A question may wait long in the queue of a busy server; --timeout overrides it.
constexpr absl::Duration kDefaultTimeout = absl::Minutes(10);
// Between lines where standard error is no terminal.
constexpr absl::Duration kProgressLines = absl::Seconds(10);
constexpr int kBarWidth = 24;

// BCP 47 of a data set's language tag.
std::string LanguageLabel(const std::string& dataset_name) {
  const std::string language = LanguageOf(dataset_name);
  return language == "cn" ? "zh" : language;
}

absl::StatusOr<Dataset> ReadDataset(const std::string& path) {
  const TableLimits limits;
  ASSIGN_OR_RETURN(const std::string text, ReadBoundedFile(path, limits.max_bytes));
  ASSIGN_OR_RETURN(const DataTable table, DataTable::Parse(text, limits));
  return MakeDataset(DatasetNameOf(path), table);
}

// The first `limit` questions with all their circular copies.
void KeepFirst(int64_t limit, Dataset* dataset) {
  std::set<int64_t> kept;
  std::erase_if(dataset->rows, [&](const EvalRow& row) {
    const int64_t question = row.index % kCircularStep;
    if (kept.contains(question)) return false;
    if (static_cast<int64_t>(kept.size()) == limit) return true;
    kept.insert(question);
    return false;
  });
}

std::string ProgressText(const EvalProgress& progress, const TerminalStyle& style) {
  const double share =
      progress.num_questions == 0
          ? 1
          : static_cast<double>(progress.num_done) / static_cast<double>(progress.num_questions);
  const auto num_full = static_cast<int>(share * kBarWidth);
  const double seconds = absl::ToDoubleSeconds(progress.elapsed);
  std::string bar;
  for (int i = 0; style.is_tty && i < kBarWidth; ++i) bar += i < num_full ? '#' : '.';
  std::string text =
      absl::StrFormat("%s%s%d/%d, %.1f/s",
                      bar,
                      bar.empty() ? "" : " ",
                      progress.num_done,
                      progress.num_questions,
                      static_cast<double>(progress.num_done) / std::max(seconds, 1e-3));
  if (progress.num_failed > 0) absl::StrAppend(&text, ", ", progress.num_failed, " failed");
  if (progress.num_done > 0) {
    absl::StrAppendFormat(&text, ", %.0f s left", seconds * (1 / share - 1));
  }
  return text;
}

absl::Status WriteFile(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (file.good()) return absl::OkStatus();
  return ErrorStatus(absl::StatusCode::kUnavailable,
                     absl::StrCat("cannot write ", path.string()),
                     {.reason = "FILE_NOT_WRITTEN"});
}

// One evaluation from the flags to its files.
class EvalCommand {
 public:
  EvalCommand(const CliOptions& options, Console& console)
      : options_(options), flags_(options.eval), console_(console) {}

  // What needs no server. To be called first.
  absl::Status Prepare();
  // Asks what the log has not. Whatever it returns, Report tells how far it came, if has_log().
  absl::Status Run(ParrotClient& client, const CallOptions& call);
  bool has_log() const { return log_ != nullptr; }
  // How many requests failed with which reason.
  void ShowFailures();
  // Judges, prints, writes; false in `complete` if questions are left or failed.
  absl::Status Report(bool* complete);

 private:
  struct Pending {
    size_t dataset_idx = 0;
    size_t row_idx = 0;
    std::string prompt;
    std::string prompt_sha256;
  };

  absl::Status ReadModel(ParrotClient& client, const CallOptions& call);
  void FindPending();
  Sample SampleOf(const Pending& pending) const;
  absl::StatusOr<EvalQuestion> MakeQuestion(const Pending& pending) const;
  void ShowProgress(const EvalProgress& progress);

  const CliOptions& options_;
  const EvalFlags& flags_;
  Console& console_;
  std::vector<Dataset> datasets_;
  EvalModel model_;
  std::unique_ptr<SampleLog> log_;
  std::vector<Pending> pending_;
  absl::Duration next_line_ = kProgressLines;
};

absl::Status EvalCommand::Prepare() {
  std::set<std::string> names;
  for (const std::string& path : flags_.datasets) {
    console_.Status(absl::StrCat("reading ", path));
    absl::StatusOr<Dataset> dataset = ReadDataset(path);
    if (!dataset.ok()) return WithField(dataset.status(), path);
    if (flags_.limit > 0) KeepFirst(flags_.limit, &*dataset);
    if (!names.insert(dataset->name).second) {
      return ErrorStatus(absl::StatusCode::kInvalidArgument,
                         absl::StrCat("two data sets have the name ", dataset->name),
                         {.reason = kUsageReason});
    }
    datasets_.push_back(*std::move(dataset));
  }
  if (flags_.settings.naming == Naming::kAllInOne) {
    std::stable_sort(datasets_.begin(), datasets_.end(), [](const Dataset& a, const Dataset& b) {
      return AllInOneName(a.name) < AllInOneName(b.name);
    });
    for (auto begin = datasets_.begin(); begin != datasets_.end();) {
      const auto end = std::find_if(begin, datasets_.end(), [&](const Dataset& dataset) {
        return AllInOneName(dataset.name) != AllInOneName(begin->name);
      });
      UnifyOptions({begin, end});
      begin = end;
    }
  }
  std::error_code error;
  std::filesystem::create_directories(flags_.output, error);
  console_.ClearStatus();
  if (!error) return absl::OkStatus();
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("--output: cannot make ", flags_.output),
                     {.reason = kUsageReason});
}

absl::Status EvalCommand::ReadModel(ParrotClient& client, const CallOptions& call) {
  console_.Status(absl::StrCat("waiting for ", options_.connection.target));
  v1::GetModelInfoRequest request;
  if (options_.connection.model.has_value()) request.set_model(*options_.connection.model);
  ASSIGN_OR_RETURN(const v1::GetModelInfoResponse info, client.GetModelInfo(request, call));
  model_ = {.name = info.model(),
            .revision = info.model_revision(),
            .dtype = info.dtype(),
            .device = info.device(),
            .server_version = info.server_version(),
            .client_version = PARROT_VERSION};
  return absl::OkStatus();
}

void EvalCommand::FindPending() {
  const EvalSettings& settings = flags_.settings;
  for (size_t i = 0; i < datasets_.size(); ++i) {
    const Dataset& dataset = datasets_[i];
    const std::string given_name = GivenName(dataset.name, settings.naming);
    const QuestionStyle style = QuestionStyleOf(dataset.name);
    std::vector<Sha256Digest> digests;
    for (const std::string& image : dataset.images) digests.push_back(Sha256Of(image));
    for (size_t j = 0; j < dataset.rows.size(); ++j) {
      const EvalRow& row = dataset.rows[j];
      Pending pending{i, j, BuildPrompt(row, given_name, style)};
      Sha256 hash;
      hash.UpdateSized(pending.prompt);
      hash.Update(digests[row.image_idx].view());
      pending.prompt_sha256 = hash.Finish().ToHex();
      const auto known = log_->samples().find({dataset.name, row.index});
      if (known != log_->samples().end()) {
        if (known->second.prompt_sha256 == pending.prompt_sha256) continue;
        log_->Drop({dataset.name, row.index});
      }
      pending_.push_back(std::move(pending));
    }
  }
}

Sample EvalCommand::SampleOf(const Pending& pending) const {
  const Dataset& dataset = datasets_[pending.dataset_idx];
  return {.dataset = dataset.name,
          .index = dataset.rows[pending.row_idx].index,
          .prompt_sha256 = pending.prompt_sha256};
}

absl::StatusOr<EvalQuestion> EvalCommand::MakeQuestion(const Pending& pending) const {
  const Dataset& dataset = datasets_[pending.dataset_idx];
  const EvalRow& row = dataset.rows[pending.row_idx];
  EvalQuestion question{.sample = SampleOf(pending)};
  std::string image = dataset.images[row.image_idx];
  if (flags_.settings.jpeg == JpegMode::kReference) {
    ASSIGN_OR_RETURN(image, SaveAgainAsJpeg(image));
  }
  v1::GenerateRequest& request = question.request;
  AddMessage(UserMessage(pending.prompt, {std::move(image)}), request.mutable_messages());
  if (options_.connection.model.has_value()) request.set_model(*options_.connection.model);
  const std::string language = LanguageLabel(dataset.name);
  if (!language.empty()) request.set_language(language);
  if (flags_.settings.scoring == Scoring::kChoices && !row.options.empty()) {
    for (const auto& [letter, text] : row.options) {
      request.add_choices(std::string(1, letter));
      question.letters[std::string(1, letter)] = letter;
    }
  } else {
    request.mutable_stop()->set_max_tokens(flags_.settings.max_tokens);
  }
  return question;
}

void EvalCommand::ShowProgress(const EvalProgress& progress) {
  const std::string text = ProgressText(progress, console_.note_style());
  if (console_.note_style().is_tty) {
    console_.Status(text);
  } else if (progress.elapsed >= next_line_) {
    next_line_ = progress.elapsed + kProgressLines;
    console_.Note(text + "\n");
  }
}

absl::Status EvalCommand::Run(ParrotClient& client, const CallOptions& call) {
  RETURN_IF_ERROR(ReadModel(client, call));
  const std::string path = (std::filesystem::path(flags_.output) / "samples.jsonl").string();
  absl::StatusOr<std::unique_ptr<SampleLog>> log =
      SampleLog::Open(path, SettingsLine(flags_.settings, model_));
  if (!log.ok()) return WithField(log.status(), path);
  log_ = *std::move(log);
  FindPending();
  if (!log_->samples().empty()) {
    console_.Note(absl::StrCat(
        log_->samples().size(), " answers are there, ", pending_.size(), " questions left\n"));
  }
  EvalRunner runner(client,
                    {.concurrency = flags_.concurrency, .max_attempts = flags_.max_attempts});
  const EvalRunner::Questions questions = {
      .size = pending_.size(),
      .sample_of = [this](size_t i) { return SampleOf(pending_[i]); },
      .make = [this](size_t i) { return MakeQuestion(pending_[i]); }};
  absl::Status status = runner.Run(
      questions,
      *call.cancellation,
      [this](Sample sample) { return log_->Append(std::move(sample)); },
      [this](const EvalProgress& progress) { ShowProgress(progress); });
  console_.ClearStatus();
  return status;
}

void EvalCommand::ShowFailures() {
  std::map<std::string, int64_t> reasons;
  for (const auto& [key, sample] : log_->samples()) {
    if (!sample.failed()) continue;
    ++reasons[sample.error_reason.empty()
                  ? sample.error_code
                  : absl::StrCat(sample.error_code, " ", sample.error_reason)];
  }
  for (const auto& [reason, count] : reasons) {
    console_.Error(absl::StrCat(count, " failed with ", reason, "\n"));
  }
}

absl::Status EvalCommand::Report(bool* complete) {
  ASSIGN_OR_RETURN(const Evaluation evaluation,
                   Evaluate(datasets_, log_->samples(), flags_.settings, model_));
  *complete = evaluation.complete();
  console_.Result(EvalReportAs(evaluation, options_.json ? EvalFormat::kJson : flags_.format));
  RETURN_IF_ERROR(log_->Finish(evaluation.judged));
  const std::filesystem::path folder = flags_.output;
  for (const auto& [name, text] : {std::pair<std::string, std::string>{
                                       "summary.json", EvalReportAs(evaluation, EvalFormat::kJson)},
                                   {"report.md", EvalReportAs(evaluation, EvalFormat::kMarkdown)},
                                   {"report.txt", EvalReportAs(evaluation, EvalFormat::kText)},
                                   {"accuracy.csv", EvalReportAs(evaluation, EvalFormat::kCsv)},
                                   {"accuracy.svg", AccuracyChart(evaluation)},
                                   {"experts.svg", ExpertChart(evaluation)}}) {
    if (!text.empty()) RETURN_IF_ERROR(WriteFile(folder / name, text));
  }
  console_.Note(absl::StrCat("saved in ", flags_.output, "\n"));
  return absl::OkStatus();
}

}  // namespace

int RunEval(const CliOptions& given, Console& console) {
  CliOptions options = given;
  if (!options.connection.timeout.has_value()) options.connection.timeout = kDefaultTimeout;
  EvalCommand command(options, console);
  const absl::Status prepared = command.Prepare();
  if (!prepared.ok()) return ReportEarlyError(prepared, options, console);
  absl::StatusOr<std::unique_ptr<Session>> opened = Session::Open(options, console);
  if (!opened.ok()) return ReportEarlyError(opened.status(), options, console);
  Session& session = **opened;
  const absl::Status run = session.Call<absl::Status>(
      [&](const CallOptions& call) { return command.Run(session.client(), call); });
  if (!command.has_log()) return session.Fail(run);
  bool complete = false;
  const absl::Status reported = command.Report(&complete);
  if (!reported.ok()) return session.Fail(reported);
  if (!run.ok() && session.signal() == 0) {
    console.Error(ErrorText(run, options.connection.target));
  }
  command.ShowFailures();
  if (!complete) console.Error("not every question has an answer: run the same again to go on\n");
  return complete && run.ok() ? kExitOk : session.FailureCode();
}

}  // namespace parrot
