#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/bench/bench_report.h"
#include "client/bench/dataset_workload.h"
#include "client/bench/load_generator.h"
#include "client/bench/synthetic_text.h"
#include "client/cli/commands.h"
#include "client/cli/report.h"
#include "client/cli/request_builder.h"
#include "client/cli/session.h"

namespace parrot {
namespace {

constexpr int64_t kDefaultPrompts = 100;
constexpr int32_t kDefaultOutputTokens = 64;
// Words of the sample that says how many tokens a word of a language has.
constexpr int64_t kSampleWords = 512;

absl::Status UsageError(const std::string& what) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument, what, {.reason = kUsageReason});
}

// Found out before the run, not after it.
absl::Status CheckResultFiles(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (!std::ofstream(path, std::ios::app).good()) {
      return UsageError(absl::StrCat("--save-result: cannot write ", path));
    }
  }
  return absl::OkStatus();
}

// 0: only the duration ends it.
int64_t NumPrompts(const BenchFlags& flags, const DatasetWorkload* dataset) {
  if (flags.num_prompts.has_value()) return *flags.num_prompts;
  if (flags.duration.value_or(absl::InfiniteDuration()) < absl::InfiniteDuration()) return 0;
  return dataset != nullptr ? dataset->size() : kDefaultPrompts;
}

std::string RangeText(TokenRange range) {
  return range.min == range.max ? absl::StrCat(range.min)
                                : absl::StrCat(range.min, " to ", range.max);
}

std::string WorkloadText(const BenchFlags& flags) {
  if (!flags.dataset.empty()) return absl::StrCat("dataset ", flags.dataset);
  const std::string languages =
      absl::StrJoin(flags.languages, ",", [](std::string* out, const LanguageWeight& entry) {
        absl::StrAppend(out, entry.language, ":", entry.weight);
      });
  std::string text = absl::StrCat("synthetic: languages ",
                                  languages,
                                  ", questions of ",
                                  RangeText(flags.input_len),
                                  " tokens, answers of ",
                                  RangeText(*flags.output_len));
  if (flags.shared_prefix_len > 0) {
    absl::StrAppend(&text, ", system turn of ", flags.shared_prefix_len);
  }
  if (flags.image_fraction > 0) {
    const std::string sizes =
        absl::StrJoin(flags.image_sizes, ",", [](std::string* out, const PictureSize& size) {
          absl::StrAppend(out, size.width, "x", size.height);
        });
    const std::string number = flags.num_images > 0 ? absl::StrCat(flags.num_images, " different")
                                                    : "each request its own";
    absl::StrAppendFormat(
        &text, ", %g%% with a picture of %s, %s", flags.image_fraction * 100, sizes, number);
  }
  return text;
}

absl::StatusOr<std::map<std::string, double>> MeasureTokensPerWord(ParrotClient& client,
                                                                   const SyntheticOptions& options,
                                                                   const CallOptions& call) {
  std::map<std::string, double> tokens_per_word;
  for (const LanguageWeight& language : options.languages) {
    std::mt19937_64 random;  // of the same sample every time
    v1::TokenizeRequest request;
    request.set_text(SyntheticText(language.language, kSampleWords, random));
    if (options.model.has_value()) request.set_model(*options.model);
    ASSIGN_OR_RETURN(const v1::TokenizeResponse response, client.Tokenize(request, call));
    tokens_per_word[language.language] =
        std::max(1, response.token_ids_size()) / static_cast<double>(kSampleWords);
  }
  return tokens_per_word;
}

std::string ProgressText(const LoadProgress& progress, int64_t num_prompts) {
  const double seconds = absl::ToDoubleSeconds(progress.elapsed);
  return absl::StrFormat("%d%s sent, %d running, %d done, %d failed, %.1f tokens/s, %.0f s",
                         progress.num_sent,
                         num_prompts > 0 ? absl::StrCat("/", num_prompts) : "",
                         progress.num_running,
                         progress.num_completed,
                         progress.num_failed,
                         static_cast<double>(progress.num_output_tokens) / std::max(seconds, 1e-3),
                         seconds);
}

// One benchmark from the flags to its results.
class Bench {
 public:
  Bench(const CliOptions& options, Console& console)
      : options_(options), flags_(options.bench), console_(console) {}

  // What needs no server. To be called first.
  absl::Status Prepare();
  // Calls the server; `call` cancels it, which during the measured run is no error.
  absl::StatusOr<LoadResult> Run(ParrotClient& client, const CallOptions& call);
  // Prints and saves; false if a file could not be written.
  bool Report(const LoadResult& result, const BenchSummary& summary);

  const BenchDescription& description() const { return description_; }

 private:
  absl::Status MakeSynthetic(ParrotClient& client, const CallOptions& call);
  void WarmUp(LoadGenerator& generator, Cancellation& cancellation);

  const CliOptions& options_;
  BenchFlags flags_;
  Console& console_;
  std::unique_ptr<Workload> workload_;
  int64_t num_prompts_ = 0;
  BenchDescription description_;
};

absl::Status Bench::Prepare() {
  RETURN_IF_ERROR(CheckResultFiles(flags_.result_files));
  if (flags_.dataset.empty()) {
    if (!flags_.output_len.has_value())
      flags_.output_len = {kDefaultOutputTokens, kDefaultOutputTokens};
    num_prompts_ = NumPrompts(flags_, nullptr);
    if (flags_.image_fraction > 0 && flags_.num_images == 0 && num_prompts_ == 0) {
      return UsageError("--duration with pictures needs --num-images or --num-prompts");
    }
  } else {
    DatasetOptions dataset{.model = options_.connection.model, .ignore_eos = flags_.ignore_eos};
    if (flags_.output_len.has_value()) dataset.output_tokens = flags_.output_len->max;
    absl::StatusOr<std::unique_ptr<DatasetWorkload>> read =
        DatasetWorkload::Read(flags_.dataset, dataset);
    if (!read.ok()) return WithField(read.status(), "--dataset");
    num_prompts_ = NumPrompts(flags_, read->get());
    workload_ = *std::move(read);
  }
  description_ = {.target = options_.connection.target,
                  .workload = WorkloadText(flags_),
                  .version = PARROT_VERSION,
                  .request_rate = flags_.request_rate,
                  .burstiness = flags_.burstiness,
                  .max_concurrency = flags_.max_concurrency,
                  .num_warmups = flags_.num_warmups,
                  .seed = flags_.seed,
                  .percentiles = flags_.percentiles,
                  .levels = flags_.levels};
  return absl::OkStatus();
}

absl::Status Bench::MakeSynthetic(ParrotClient& client, const CallOptions& call) {
  SyntheticOptions synthetic{.seed = flags_.seed,
                             .model = options_.connection.model,
                             .languages = flags_.languages,
                             .input_tokens = flags_.input_len,
                             .output_tokens = *flags_.output_len,
                             .ignore_eos = flags_.ignore_eos,
                             .shared_prefix_tokens = flags_.shared_prefix_len,
                             .image_fraction = flags_.image_fraction,
                             .image_sizes = flags_.image_sizes,
                             .num_images = flags_.num_images,
                             .num_requests = num_prompts_ + flags_.num_warmups};
  ASSIGN_OR_RETURN(synthetic.tokens_per_word, MeasureTokensPerWord(client, synthetic, call));
  console_.Status("making requests");
  ASSIGN_OR_RETURN(workload_, SyntheticWorkload::Create(synthetic, [&call] {
                     return call.cancellation->cancelled();
                   }));
  return absl::OkStatus();
}

// As many at once as the measured run may have.
void Bench::WarmUp(LoadGenerator& generator, Cancellation& cancellation) {
  console_.Status(absl::StrCat("warming up with ", flags_.num_warmups, " requests"));
  const int32_t at_once = flags_.max_concurrency > 0 ? flags_.max_concurrency : 1;
  const LoadResult result =
      generator.Run({.num_requests = flags_.num_warmups, .max_concurrency = at_once}, cancellation);
  const auto num_failed =
      std::count_if(result.samples.begin(), result.samples.end(), [](const RequestSample& sample) {
        return sample.outcome == RequestOutcome::kFailed;
      });
  if (num_failed == 0) return;
  console_.Note(absl::StrCat(num_failed, " warm-up requests failed\n"));
}

absl::StatusOr<LoadResult> Bench::Run(ParrotClient& client, const CallOptions& call) {
  console_.Status(absl::StrCat("waiting for ", options_.connection.target));
  v1::GetModelInfoRequest info_request;
  if (options_.connection.model.has_value()) info_request.set_model(*options_.connection.model);
  ASSIGN_OR_RETURN(const v1::GetModelInfoResponse info, client.GetModelInfo(info_request, call));
  if (workload_ == nullptr) RETURN_IF_ERROR(MakeSynthetic(client, call));

  ASSIGN_OR_RETURN(ClientOptions client_options, ClientOptionsFrom(options_.connection));
  client_options.max_attempts = 1;  // what the server refuses is part of the result
  LoadGenerator generator(client_options, *workload_, flags_.streams_per_connection);
  if (flags_.num_warmups > 0) WarmUp(generator, *call.cancellation);
  description_.date = absl::Now();
  description_.model = info.model();
  return generator.Run({.num_requests = num_prompts_,
                        .duration = flags_.duration.value_or(absl::InfiniteDuration()),
                        .arrivals = {.request_rate = flags_.request_rate,
                                     .burstiness = flags_.burstiness,
                                     .seed = flags_.seed},
                        .max_concurrency = flags_.max_concurrency},
                       *call.cancellation,
                       [this](const LoadProgress& progress) {
                         console_.Status(ProgressText(progress, num_prompts_));
                       });
}

bool Bench::Report(const LoadResult& result, const BenchSummary& summary) {
  const BenchReport report{.description = description_, .summary = summary, .result = result};
  console_.Result(options_.json ? BenchJson(report, flags_.save_detailed) : BenchText(report));
  bool all_saved = true;
  for (const std::string& path : flags_.result_files) {
    const absl::Status saved = SaveReport(report, flags_.save_detailed, path);
    if (saved.ok()) {
      console_.Note(absl::StrCat("saved ", path, "\n"));
    } else {
      console_.Error(ErrorText(saved, options_.connection.target));
      all_saved = false;
    }
  }
  return all_saved;
}

}  // namespace

int RunBench(const CliOptions& options, Console& console) {
  Bench bench(options, console);
  const absl::Status prepared = bench.Prepare();
  if (!prepared.ok()) return ReportEarlyError(prepared, options, console);
  absl::StatusOr<std::unique_ptr<Session>> opened = Session::Open(options, console);
  if (!opened.ok()) return ReportEarlyError(opened.status(), options, console);
  Session& session = **opened;
  const auto result = session.Call<absl::StatusOr<LoadResult>>(
      [&](const CallOptions& call) { return bench.Run(session.client(), call); });
  if (!result.ok()) return session.Fail(result.status());
  const BenchSummary summary = Summarize(*result, bench.description());
  const bool saved = bench.Report(*result, summary);
  if (session.signal() != 0 || summary.all.num_failed > 0 || !saved) return session.FailureCode();
  return kExitOk;
}

}  // namespace parrot
