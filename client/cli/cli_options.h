// The command line of parrot-cli as plain data. docs/cli.md describes every flag.
#ifndef PARROT_CLIENT_CLI_CLI_OPTIONS_H_
#define PARROT_CLIENT_CLI_CLI_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "client/cli/bench_flags.h"
#include "client/cli/eval_flags.h"

namespace parrot {

enum class CliCommand {
  kGenerate,
  kChat,
  kRoute,
  kTokenize,
  kCount,
  kBench,
  kEval,
  kHealth,
  kModels
};

// Exit codes. A call that a signal ended: 128 + signal (130 for Ctrl-C).
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

struct ConnectionFlags {
  std::string target = "127.0.0.1:8001";
  std::optional<std::string> model;
  std::string api_key_file;  // empty: environment PARROT_API_KEY
  bool tls = false;          // also set by any of the three files
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  std::optional<absl::Duration> timeout;
};

struct ConversationFlags {
  std::optional<std::string> prompt;  // absent: standard input
  std::vector<std::string> images;    // paths
  std::optional<std::string> prefix;
  std::optional<std::string> system;
  std::string messages_file;  // instead of prompt, images and system
  bool literal = false;
  bool pin_first_turn = false;
  std::optional<std::string> language;
};

struct SamplingFlags {
  std::optional<int32_t> max_tokens;
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<uint64_t> seed;
  std::vector<int32_t> stop_token_ids;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::vector<std::pair<uint32_t, float>> logit_bias;
  std::optional<std::string> lock_language;
  std::optional<float> lock_bias;  // a soft lock
  std::optional<int32_t> min_tokens;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  bool include_stop = false;
  std::optional<int32_t> num_answers;      // generate
  std::optional<int32_t> logprobs;         // generate
  std::optional<int32_t> prompt_logprobs;  // generate
  std::vector<std::string> choices;        // generate
};

struct CliOptions {
  CliCommand command = CliCommand::kGenerate;
  ConnectionFlags connection;
  ConversationFlags conversation;
  SamplingFlags sampling;
  bool json = false;
  bool quiet = false;
  std::string request_id;
  std::optional<std::string> text;  // tokenize; absent: standard input
  BenchFlags bench;
  EvalFlags eval;
  std::string service;                 // health; empty: the whole server
  std::optional<absl::Duration> wait;  // health
};

// Options, or the exit code after what was asked for (--help: 0) or what was wrong (2) has been
// written to `out` or `err`.
std::variant<CliOptions, int> ParseCommandLine(int argc,
                                               const char* const* argv,
                                               std::ostream& out,
                                               std::ostream& err);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_CLI_OPTIONS_H_
