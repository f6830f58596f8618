#include "server/options/option_table.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "server/options/human_units.h"

namespace parrot {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

absl::Status OutOfRange(const std::string& text, const std::string& low, const std::string& high) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", text.substr(0, 64), "' is out of range, allowed: ", low, " to ", high));
}

// What every row has; the makers below add how a member is read and written.
struct Row {
  std::string name;
  std::string group;
  std::string help;
  std::string alias = {};
};

OptionSpec Base(const Row& row, const std::string& type) {
  OptionSpec spec;
  spec.name = row.name;
  spec.alias = row.alias;
  spec.group = row.group;
  spec.type = type;
  spec.help = row.help;
  return spec;
}

template <typename Int>
OptionSpec IntOption(const Row& row, Int Options::*member, int64_t min, int64_t max) {
  OptionSpec spec = Base(row, "N");
  spec.set = [=](const std::string& text, Options& options) -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t value, ParseSize(text));
    if (value < min || value > max) {
      return OutOfRange(text, absl::StrCat(min), absl::StrCat(max));
    }
    options.*member = static_cast<Int>(value);
    return absl::OkStatus();
  };
  spec.get = [=](const Options& options) { return absl::StrCat(options.*member); };
  return spec;
}

OptionSpec SizeOption(const Row& row, int64_t Options::*member, int64_t min, int64_t max) {
  OptionSpec spec = IntOption(row, member, min, max);
  spec.type = "SIZE";
  spec.get = [=](const Options& options) { return FormatSize(options.*member); };
  return spec;
}

OptionSpec DurationOption(const Row& row,
                          absl::Duration Options::*member,
                          absl::Duration min,
                          absl::Duration max) {
  OptionSpec spec = Base(row, "DURATION");
  spec.set = [=](const std::string& text, Options& options) -> absl::Status {
    ASSIGN_OR_RETURN(const absl::Duration value, ParseHumanDuration(text));
    if (value < min || value > max) {
      return OutOfRange(text, FormatHumanDuration(min), FormatHumanDuration(max));
    }
    options.*member = value;
    return absl::OkStatus();
  };
  spec.get = [=](const Options& options) { return FormatHumanDuration(options.*member); };
  return spec;
}

OptionSpec TextOption(const Row& row, std::string Options::*member, const std::string& type) {
  OptionSpec spec = Base(row, type);
  spec.set = [=](const std::string& text, Options& options) {
    options.*member = text;
    return absl::OkStatus();
  };
  spec.get = [=](const Options& options) { return options.*member; };
  return spec;
}

OptionSpec ChoiceOption(const Row& row,
                        std::string Options::*member,
                        const std::vector<std::string>& choices) {
  OptionSpec spec = Base(row, absl::StrJoin(choices, "|"));
  spec.set = [=](const std::string& text, Options& options) {
    if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", text.substr(0, 64), "' is not a choice, allowed: ", absl::StrJoin(choices, ", ")));
    }
    options.*member = text;
    return absl::OkStatus();
  };
  spec.get = [=](const Options& options) { return options.*member; };
  return spec;
}

OptionSpec BoolOption(const Row& row, bool Options::*member) {
  OptionSpec spec = Base(row, "BOOL");
  spec.is_flag = true;
  spec.set = [=](const std::string& text, Options& options) {
    const std::string lower = absl::AsciiStrToLower(text);
    const bool is_true = lower == "true" || lower == "1" || lower == "yes" || lower == "on";
    if (!is_true && lower != "false" && lower != "0" && lower != "no" && lower != "off") {
      return absl::InvalidArgumentError(
          absl::StrCat("'", text.substr(0, 64), "' is not a choice, allowed: true, false"));
    }
    options.*member = is_true;
    return absl::OkStatus();
  };
  spec.get = [=](const Options& options) { return options.*member ? "true" : "false"; };
  return spec;
}

OptionSpec ServedNamesOption(const Row& row) {
  OptionSpec spec = Base(row, "NAME,...");
  spec.is_list = true;
  spec.set = [](const std::string& text, Options& options) {
    std::vector<std::string> names = absl::StrSplit(text, ',', absl::SkipWhitespace());
    for (std::string& name : names) {
      absl::StripAsciiWhitespace(&name);
      if (name.size() > 64 || !std::all_of(name.begin(), name.end(), absl::ascii_isgraph)) {
        return absl::InvalidArgumentError(
            "a served model name has 1 to 64 printable ASCII characters, no spaces");
      }
    }
    options.served_model_names = std::move(names);
    return absl::OkStatus();
  };
  spec.get = [](const Options& options) { return absl::StrJoin(options.served_model_names, ","); };
  return spec;
}

// "image=2", or {"image": 2} as vLLM's JSON form has it.
OptionSpec ImageLimitOption(const Row& row) {
  OptionSpec spec = Base(row, "image=N");
  spec.set = [](const std::string& text, Options& options) {
    const std::string plain =
        absl::StrReplaceAll(text, {{"{", ""}, {"}", ""}, {"\"", ""}, {" ", ""}, {":", "="}});
    absl::string_view number = plain;
    int32_t limit = 0;
    if (!absl::ConsumePrefix(&number, "image=") || !absl::SimpleAtoi(number, &limit) || limit < 1 ||
        limit > 8) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", text.substr(0, 64), "' is not an image limit, allowed: image=1 to image=8"));
    }
    options.max_images_per_prompt = limit;
    return absl::OkStatus();
  };
  spec.get = [](const Options& options) {
    return absl::StrCat("image=", options.max_images_per_prompt);
  };
  return spec;
}

void AddModelOptions(std::vector<OptionSpec>& table) {
  const std::string group = "Model";
  const auto add = [&table](OptionSpec spec) { table.push_back(std::move(spec)); };
  add(TextOption({"model", group, "Folder of the checkpoint. Required.", "model-path"},
                 &Options::model,
                 "DIR"));
  add(TextOption({"tokenizer",
                  group,
                  "Folder with tokenizer.json; empty: the model's folder.",
                  "tokenizer-path"},
                 &Options::tokenizer,
                 "DIR"));
  add(ServedNamesOption({"served-model-name",
                         group,
                         "Names that requests may use, the first is the default; empty: the "
                         "folder's name."}));
  add(ChoiceOption({"load-format",
                    group,
                    "auto: the checkpoint's safetensors; dummy: random weights of the sizes in "
                    "config.json."},
                   &Options::load_format,
                   {"auto", "dummy"}));
  add(ChoiceOption({"dtype",
                    group,
                    "Number format. CUDA and the reference backend: of the computation; auto: "
                    "float32 on a CPU, bfloat16 on CUDA. The CPU's own kernels compute in float32: "
                    "of the weights; auto: bfloat16 where the files hold it or float32 would take "
                    "more than three "
                    "quarters of the memory, else float32."},
                   &Options::dtype,
                   {"auto", "float32", "bfloat16"}));
  add(ChoiceOption({"device", group, "auto: CUDA if a device is found, else the CPU."},
                   &Options::device,
                   {"auto", "cpu", "cuda"}));
  add(ChoiceOption({"backend",
                    group,
                    "What computes on a CPU. cpu: our own kernels; reference: plain libtorch, "
                    "slow; auto: cpu where the processor has AVX2 and FMA."},
                   &Options::backend,
                   {"auto", "cpu", "reference"}));
  add(ChoiceOption(
      {"cpu-isa",
       group,
       "Instruction set of the CPU's own kernels; auto: the fastest that the processor "
       "has. avx512_bf16 (AMD's processors; slow on Intel's) and amx round activations "
       "to bfloat16 before products, unless the weights are float32."},
      &Options::cpu_isa,
      {"auto", "avx2", "avx512", "avx512_bf16", "amx"}));
  const std::vector<std::string> quantizations = {
      "none", "int8", "int8-g128", "int8-g32", "int4-g128", "int4-g32"};
  std::vector<std::string> or_auto = quantizations;
  or_auto.insert(or_auto.begin(), "auto");
  add(ChoiceOption({"quantization",
                    group,
                    "Weights of the language model in the CPU's own kernels: int8 has a scale per "
                    "output, gN one per N inputs; int4 is asymmetric."},
                   &Options::quantization,
                   quantizations));
  add(ChoiceOption({"expert-quantization", group, "Of the experts; auto: as --quantization."},
                   &Options::expert_quantization,
                   or_auto));
  add(ChoiceOption({"head-quantization", group, "Of the output head; auto: as --quantization."},
                   &Options::head_quantization,
                   or_auto));
  add(ChoiceOption({"vision-quantization", group, "Of the vision tower and the projector."},
                   &Options::vision_quantization,
                   quantizations));
  add(TextOption({"packed-weights-dir",
                  group,
                  "Folder for weights as the CPU's own kernels pack them, perhaps the model's own: "
                  "the first start writes a file there, later ones map it and share its memory. "
                  "Empty: pack at each start."},
                 &Options::packed_weights_dir,
                 "DIR"));
  add(IntOption({"num-workers",
                 group,
                 "Engines side by side, on a CPU; they share one copy of the weights and divide "
                 "threads, memory and queue among them."},
                &Options::num_workers,
                1,
                64));
  add(IntOption({"num-threads",
                 group,
                 "Threads of the computation, of all workers; 0: one per core.",
                 "threads"},
                &Options::num_threads,
                0,
                1024));
  add(IntOption({"seed", group, "Seed of sampling where a request gives none."},
                &Options::seed,
                0,
                std::numeric_limits<int64_t>::max()));
}

void AddSchedulingOptions(std::vector<OptionSpec>& table) {
  const std::string group = "Scheduling and memory";
  const auto add = [&table](OptionSpec spec) { table.push_back(std::move(spec)); };
  add(IntOption({"max-model-len",
                 group,
                 "Longest prompt plus answer in tokens; 0: the model's training length.",
                 "context-length"},
                &Options::max_model_len,
                0,
                1 << 20));
  add(IntOption({"max-num-seqs",
                 group,
                 "Answers generated at the same time by one worker.",
                 "max-running-requests"},
                &Options::max_num_seqs,
                1,
                1024));
  add(IntOption(
      {"max-num-batched-tokens", group, "Positions computed in one step.", "chunked-prefill-size"},
      &Options::max_num_batched_tokens,
      16,
      1 << 20));
  add(IntOption({"max-images-per-step", group, "Images that one step encodes."},
                &Options::max_images_per_step,
                1,
                64));
  add(IntOption({"block-size", group, "Tokens per block of the KV cache.", "page-size"},
                &Options::block_size,
                1,
                256));
  add(ChoiceOption({"kv-cache-dtype",
                    group,
                    "Number format of keys and values in the CPU's own kernels; auto: float32."},
                   &Options::kv_cache_dtype,
                   {"auto", "float32", "bfloat16", "int8"}));
  add(SizeOption({"kv-cache-memory-bytes", group, "Memory for keys and values, of all workers."},
                 &Options::kv_cache_memory_bytes,
                 int64_t{1} << 16,
                 int64_t{1} << 46));
  add(BoolOption({"enable-prefix-caching",
                  group,
                  "Reuse keys and values of prompts that begin alike; never changes an answer."},
                 &Options::enable_prefix_caching));
  add(ChoiceOption({"vision-cache-level",
                    group,
                    "What is kept of an image for the next question about it: nothing, its "
                    "features, or the outputs of all experts too."},
                   &Options::vision_cache_level,
                   {"off", "features", "experts"}));
  add(SizeOption(
      {"vision-cache-memory",
       group,
       "Memory for the kept, of all workers; images in use may take more. 0: keep none."},
      &Options::vision_cache_memory_bytes,
      0,
      int64_t{1} << 46));
  add(IntOption({"max-queue-size",
                 group,
                 "Requests that wait for their turn; 0: 4 x max-num-seqs x num-workers."},
                &Options::max_queue_size,
                0,
                1 << 20));
  add(DurationOption(
      {"queue-timeout", group, "Longest wait for the first step; then RESOURCE_EXHAUSTED."},
      &Options::queue_timeout,
      absl::Milliseconds(1),
      absl::Hours(24)));
  add(DurationOption({"priority-aging",
                      group,
                      "A request that has waited so long is served as if its priority were one "
                      "higher."},
                     &Options::priority_aging,
                     absl::Milliseconds(1),
                     absl::Hours(24)));
  add(DurationOption(
      {"max-step-time",
       group,
       "While answers stream, vision towers are cut and prompt chunks shrink so that a step is "
       "not expected to take longer; 0: no limit."},
      &Options::max_step_time,
      absl::ZeroDuration(),
      absl::Hours(1)));
  add(DurationOption({"request-timeout", group, "Time for an answer when the client sets none."},
                     &Options::request_timeout,
                     absl::Milliseconds(1),
                     absl::Hours(24)));
  add(DurationOption({"max-request-timeout",
                      group,
                      "Longest time for an answer, whatever deadline the client sets."},
                     &Options::max_request_timeout,
                     absl::Milliseconds(1),
                     absl::Hours(24)));
  add(DurationOption({"deadline-margin",
                      group,
                      "Work stops so long before the client's deadline, so that what is there "
                      "still reaches it."},
                     &Options::deadline_margin,
                     absl::ZeroDuration(),
                     absl::Minutes(1)));
  add(DurationOption({"client-stall-timeout",
                      group,
                      "A client that takes none of its answer for so long is cut off (ABORTED)."},
                     &Options::client_stall_timeout,
                     absl::Milliseconds(1),
                     absl::Hours(1)));
  add(DurationOption({"step-timeout",
                      group,
                      "A step of the model that takes longer means that the device hangs: the "
                      "server stops with an error."},
                     &Options::step_timeout,
                     absl::Milliseconds(1),
                     absl::Hours(24)));
}

void AddRequestOptions(std::vector<OptionSpec>& table) {
  const std::string group = "Requests";
  const auto add = [&table](OptionSpec spec) { table.push_back(std::move(spec)); };
  add(ImageLimitOption({"limit-mm-per-prompt", group, "Images of one request, 1 to 8."}));
  add(IntOption(
      {"preprocess-threads", group, "Threads that decode and resize images; 0: one for two cores."},
      &Options::preprocess_threads,
      0,
      256));
  add(SizeOption(
      {"image-store-memory",
       group,
       "Memory for the pixels of images that were sent, so that a client may name one by "
       "its digest instead of sending it again. 0: keep none."},
      &Options::image_store_memory_bytes,
      0,
      int64_t{1} << 46));
  add(BoolOption({"apply-exif-orientation",
                  group,
                  "Turn photos as their EXIF data say; the model was trained without."},
                 &Options::apply_exif_orientation));
}

void AddNetworkOptions(std::vector<OptionSpec>& table) {
  const std::string group = "Network";
  const auto add = [&table](OptionSpec spec) { table.push_back(std::move(spec)); };
  add(TextOption({"host", group, "Address of the HTTP and gRPC ports; 0.0.0.0 or :: for all."},
                 &Options::host,
                 "ADDRESS"));
  add(IntOption({"http-port", group, "Port of /health, /metrics and /version; 0: any free port."},
                &Options::http_port,
                0,
                65535));
  add(IntOption({"grpc-port", group, "Port of the gRPC API; 0: any free port."},
                &Options::grpc_port,
                0,
                65535));
  add(TextOption({"admin-address",
                  group,
                  "Address of ParrotControlService (no TLS, no keys: keep it local); empty: off."},
                 &Options::admin_address,
                 "HOST:PORT"));
  add(SizeOption({"grpc-max-message", group, "Largest request message in bytes."},
                 &Options::grpc_max_message_bytes,
                 int64_t{64} << 10,
                 int64_t{1} << 30));
  add(DurationOption({"grpc-keepalive-time",
                      group,
                      "Idle time after which a connection is probed; 10s later it is closed."},
                     &Options::grpc_keepalive_time,
                     absl::Seconds(1),
                     absl::Hours(24)));
  add(DurationOption({"grpc-max-connection-age",
                      group,
                      "Age at which a connection is asked to close, so that clients spread over "
                      "new replicas; 0: never."},
                     &Options::grpc_max_connection_age,
                     absl::ZeroDuration(),
                     absl::Hours(240)));
  add(DurationOption(
      {"grpc-max-connection-age-grace", group, "Time that running calls have after that."},
      &Options::grpc_max_connection_age_grace,
      absl::Seconds(1),
      absl::Hours(240)));
  add(IntOption({"grpc-max-concurrent-streams", group, "Calls at once on one connection."},
                &Options::grpc_max_concurrent_streams,
                1,
                100000));
  add(ChoiceOption({"enable-reflection",
                    group,
                    "gRPC server reflection; auto: only if the port is on a loopback address."},
                   &Options::enable_reflection,
                   {"auto", "true", "false"}));
}

void AddSecurityOptions(std::vector<OptionSpec>& table) {
  const std::string group = "Security";
  const auto add = [&table](OptionSpec spec) { table.push_back(std::move(spec)); };
  add(TextOption(
      {"api-key-file",
       group,
       "File of API keys, re-read every second; clients send 'authorization: Bearer KEY'."},
      &Options::api_key_file,
      "FILE"));
  add(TextOption({"ssl-certfile", group, "Certificate chain of the gRPC port, PEM; empty: no TLS."},
                 &Options::ssl_certfile,
                 "FILE"));
  add(TextOption({"ssl-keyfile", group, "Private key of the certificate, PEM."},
                 &Options::ssl_keyfile,
                 "FILE"));
  add(TextOption({"ssl-ca-certs",
                  group,
                  "Authorities of client certificates, PEM; set: clients must present one (mTLS)."},
                 &Options::ssl_ca_certs,
                 "FILE"));
  add(BoolOption({"enable-ssl-refresh", group, "Read the TLS files again when they change."},
                 &Options::enable_ssl_refresh));
  add(BoolOption(
      {"trust-tenant-header",
       group,
       "Let the metadata field x-parrot-tenant choose the tenant; only behind a proxy that "
       "sets it."},
      &Options::trust_tenant_header));
}

void AddLifecycleOptions(std::vector<OptionSpec>& table) {
  const std::string group = "Life cycle and logs";
  const auto add = [&table](OptionSpec spec) { table.push_back(std::move(spec)); };
  add(DurationOption({"shutdown-timeout",
                      group,
                      "From SIGTERM to exit at the latest; running answers finish within it."},
                     &Options::shutdown_timeout,
                     absl::ZeroDuration(),
                     absl::Hours(24)));
  add(DurationOption({"lame-duck",
                      group,
                      "Part of it: time after SIGTERM in which health says NOT_SERVING and new "
                      "requests are still served, so that load balancers can notice. Ctrl-C skips "
                      "it."},
                     &Options::lame_duck,
                     absl::ZeroDuration(),
                     absl::Hours(1)));
  add(ChoiceOption({"log-level", group, "Least important lines that are logged."},
                   &Options::log_level,
                   {"debug", "info", "warning", "error"}));
  add(ChoiceOption({"log-format", group, "Log lines on stderr as text or JSON."},
                   &Options::log_format,
                   {"text", "json"}));
  add(BoolOption({"log-requests",
                  group,
                  "Log a line for each finished request: ids, counts and times, never texts."},
                 &Options::log_requests));
  add(ChoiceOption({"metrics-compat",
                    group,
                    "Names that /metrics shows beside the native ones: vLLM's, for dashboards and "
                    "autoscalers made for it."},
                   &Options::metrics_compat,
                   {"none", "vllm"}));
}

// Number of single-character edits between two names, by the classic table of two rows.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<OptionSpec> OptionTable() {
  std::vector<OptionSpec> table;
  AddModelOptions(table);
  AddSchedulingOptions(table);
  AddRequestOptions(table);
  AddNetworkOptions(table);
  AddSecurityOptions(table);
  AddLifecycleOptions(table);
  return table;
}

std::string EnvironmentName(const std::string& option_name) {
  return absl::StrCat("PARROT_",
                      absl::AsciiStrToUpper(absl::StrReplaceAll(option_name, {{"-", "_"}})));
}

const OptionSpec* FindOption(const std::vector<OptionSpec>& table, const std::string& name) {
  const std::string hyphenated = absl::StrReplaceAll(name, {{"_", "-"}});
  for (const OptionSpec& spec : table) {
    if (spec.name == hyphenated || (!spec.alias.empty() && spec.alias == hyphenated)) return &spec;
  }
  return nullptr;
}

std::string Suggestion(const std::vector<OptionSpec>& table, const std::string& name) {
  const std::string hyphenated = absl::StrReplaceAll(name, {{"_", "-"}});
  if (hyphenated.size() > 64) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(2, hyphenated.size() / 3) + 1;
  for (const OptionSpec& spec : table) {
    for (const std::string& candidate : {spec.name, spec.alias}) {
      if (candidate.empty()) continue;
      const size_t distance = EditDistance(hyphenated, candidate);
      if (distance < best_distance) {
        best_distance = distance;
        best = candidate;
      }
    }
  }
  return best.empty() ? "" : absl::StrCat(", did you mean '", best, "'?");
}

}  // namespace parrot
