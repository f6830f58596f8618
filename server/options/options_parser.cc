#include "server/options/options_parser.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "server/options/config_file.h"
#include "server/options/human_units.h"
#include "server/options/option_table.h"

namespace parrot {
namespace {

// What stood on the command line, not yet interpreted.
struct RawArguments {
  CommandLineAction action = CommandLineAction::kServe;
  std::optional<std::string> config_path;
  std::map<std::string, std::string> values;  // by option name
};

// Names may be written with underscores; values are left alone.
std::string WithHyphens(const std::string& argument) {
  if (!absl::StartsWith(argument, "--")) return argument;
  const size_t end = argument.find('=');
  const std::string name = argument.substr(0, end);
  const std::string rest = end == std::string::npos ? "" : argument.substr(end);
  return absl::StrReplaceAll(name, {{"_", "-"}}) + rest;
}

absl::Status UnexpectedArgument(const std::vector<OptionSpec>& table, const std::string& argument) {
  if (!absl::StartsWith(argument, "-")) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument '", argument.substr(0, 64), "'; see --help"));
  }
  const std::string name = argument.substr(0, argument.find('='));
  const std::string bare = name.substr(std::min(name.size(), name.find_first_not_of('-')));
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown option '", name.substr(0, 64), "'", Suggestion(table, bare), "; see --help"));
}

absl::StatusOr<RawArguments> ReadArguments(const std::vector<OptionSpec>& table,
                                           const std::vector<std::string>& arguments) {
  CLI::App app;
  app.set_help_flag("");
  app.allow_extras();
  std::map<std::string, std::vector<std::string>> texts;
  for (const OptionSpec& spec : table) {
    std::string names = absl::StrCat("--", spec.name);
    if (!spec.alias.empty()) absl::StrAppend(&names, ",--", spec.alias);
    if (spec.is_flag) absl::StrAppend(&names, ",!--no-", spec.name);
    CLI::Option* option = spec.is_flag ? app.add_flag(names) : app.add_option(names);
    // An empty text is a value: it switches an option off that has a default.
    if (!spec.is_flag) option->type_size(1)->expected(1);
    option->multi_option_policy(spec.is_list ? CLI::MultiOptionPolicy::TakeAll
                                             : CLI::MultiOptionPolicy::TakeLast);
  }
  std::string config_path;
  CLI::Option* config = app.add_option("--config", config_path);
  const std::vector<std::pair<std::string, CommandLineAction>> actions = {
      {"--help,-h", CommandLineAction::kHelp},
      {"--help-markdown", CommandLineAction::kHelpMarkdown},
      {"--version", CommandLineAction::kVersion},
      {"--print-config", CommandLineAction::kPrintConfig},
      {"--check-config", CommandLineAction::kCheckConfig}};
  std::vector<CLI::Option*> action_options;
  action_options.reserve(actions.size());
  for (const auto& [names, action] : actions) action_options.push_back(app.add_flag(names));

  // CLI11 takes the arguments in reverse and reports errors by exceptions; none leaves here.
  std::vector<std::string> words;
  for (const std::string& argument : arguments) {
    words.push_back(WithHyphens(argument));
    // CLI11 would take the next argument for the value of "--name=".
    std::string& word = words.back();
    if (absl::StartsWith(word, "--") && word.find('=') + 1 == word.size()) {
      word.pop_back();
      words.emplace_back();
    }
  }
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(error.what());
  }
  const std::vector<std::string> extras = app.remaining();
  if (!extras.empty()) return UnexpectedArgument(table, extras.front());

  RawArguments raw;
  for (size_t i = 0; i < actions.size(); ++i) {
    if (action_options[i]->count() > 0) {
      raw.action = actions[i].second;
      break;
    }
  }
  if (config->count() > 0) raw.config_path = config_path;
  for (const OptionSpec& spec : table) {
    const CLI::Option* option = app.get_option(absl::StrCat("--", spec.name));
    if (option->count() == 0) continue;
    raw.values[spec.name] = absl::StrJoin(option->reduced_results(), ",");
  }
  return raw;
}

absl::Status Apply(const OptionSpec& spec,
                   const std::string& source,
                   const std::string& text,
                   Options& options) {
  absl::Status status = spec.set(text, options);
  if (status.ok()) return status;
  std::string hint;
  if (absl::StartsWith(text, "tcp://")) {
    hint = " (set by Kubernetes for a Service of that name? Use enableServiceLinks: false)";
  }
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": ", std::string(status.message()), hint));
}

absl::Status ApplyConfigFile(const std::vector<OptionSpec>& table,
                             const std::string& path,
                             Options& options) {
  const absl::StatusOr<std::vector<ConfigEntry>> entries = ReadConfigFile(path);
  if (!entries.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--config ", path, ": ", std::string(entries.status().message())));
  }
  std::map<std::string, std::string> seen;
  for (const ConfigEntry& entry : *entries) {
    const std::string source = absl::StrCat("--config ", path, ":", entry.line);
    const OptionSpec* spec = FindOption(table, entry.key);
    if (spec == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          source, ": unknown key '", entry.key.substr(0, 64), "'", Suggestion(table, entry.key)));
    }
    if (const auto [it, inserted] = seen.emplace(spec->name, entry.key); !inserted) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": '", entry.key, "' is the option '", it->second, "' again"));
    }
    RETURN_IF_ERROR(Apply(*spec, absl::StrCat(source, ": ", entry.key), entry.value, options));
  }
  return absl::OkStatus();
}

absl::Status CheckReadable(const std::string& option, const std::string& path) {
  if (path.empty() || ::access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--", option, ": cannot read '", path, "'"));
}

absl::Status ValidateSecurity(const Options& options) {
  if (options.ssl_certfile.empty() != options.ssl_keyfile.empty()) {
    return absl::InvalidArgumentError("--ssl-certfile and --ssl-keyfile need each other");
  }
  if (options.ssl_certfile.empty() && !options.ssl_ca_certs.empty()) {
    return absl::InvalidArgumentError("--ssl-ca-certs needs --ssl-certfile and --ssl-keyfile");
  }
  if (options.ssl_certfile.empty() && options.enable_ssl_refresh) {
    return absl::InvalidArgumentError(
        "--enable-ssl-refresh needs --ssl-certfile and --ssl-keyfile");
  }
  RETURN_IF_ERROR(CheckReadable("ssl-certfile", options.ssl_certfile));
  RETURN_IF_ERROR(CheckReadable("ssl-keyfile", options.ssl_keyfile));
  RETURN_IF_ERROR(CheckReadable("ssl-ca-certs", options.ssl_ca_certs));
  return CheckReadable("api-key-file", options.api_key_file);
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host == "[::1]" || absl::StartsWith(host, "127.");
}

absl::Status ValidateWorkers(const Options& options) {
  if (options.num_workers > 1 && options.device == "cuda") {
    return absl::InvalidArgumentError(
        "--num-workers: several workers need --device=cpu; a GPU has one");
  }
  if (options.num_threads > 0 && options.num_threads < options.num_workers) {
    return absl::InvalidArgumentError(
        "--num-threads must be at least --num-workers: each worker has a thread");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateOptions(const Options& options) {
  if (options.model.empty()) {
    return absl::InvalidArgumentError("--model is required: the folder of a checkpoint");
  }
  if (options.http_port != 0 && options.http_port == options.grpc_port) {
    return absl::InvalidArgumentError("--http-port and --grpc-port must differ");
  }
  if (options.host.empty()) return absl::InvalidArgumentError("--host must not be empty");
  if (!options.admin_address.empty() && options.admin_address.find(':') == std::string::npos) {
    return absl::InvalidArgumentError("--admin-address must be HOST:PORT or empty");
  }
  if (options.lame_duck > options.shutdown_timeout) {
    return absl::InvalidArgumentError(absl::StrCat("--lame-duck (",
                                                   FormatHumanDuration(options.lame_duck),
                                                   ") must not be longer than --shutdown-timeout (",
                                                   FormatHumanDuration(options.shutdown_timeout),
                                                   "), of which it is a part"));
  }
  if (options.request_timeout > options.max_request_timeout) {
    return absl::InvalidArgumentError(
        absl::StrCat("--request-timeout (",
                     FormatHumanDuration(options.request_timeout),
                     ") must not be longer than --max-request-timeout (",
                     FormatHumanDuration(options.max_request_timeout),
                     ")"));
  }
  RETURN_IF_ERROR(ValidateWorkers(options));
  return ValidateSecurity(options);
}

std::vector<std::string> OptionWarnings(const Options& options) {
  std::vector<std::string> warnings;
  if (!IsLoopback(options.host) && options.ssl_certfile.empty()) {
    warnings.push_back(
        options.api_key_file.empty()
            ? "the ports are open to other machines, without TLS and without keys"
            : "the ports are open to other machines and API keys travel without TLS");
  }
  const std::string admin_host = options.admin_address.substr(0, options.admin_address.rfind(':'));
  if (!options.admin_address.empty() && !IsLoopback(admin_host)) {
    warnings.push_back("the admin port is open to other machines; it has neither TLS nor keys");
  }
  return warnings;
}

absl::StatusOr<ParsedCommandLine> ParseCommandLine(
    const std::vector<std::string>& arguments,
    const std::map<std::string, std::string>& environment) {
  const std::vector<OptionSpec> table = OptionTable();
  ASSIGN_OR_RETURN(const RawArguments raw, ReadArguments(table, arguments));
  ParsedCommandLine line;
  line.action = raw.action;
  if (raw.action == CommandLineAction::kHelp || raw.action == CommandLineAction::kHelpMarkdown ||
      raw.action == CommandLineAction::kVersion) {
    return line;
  }
  const auto config_variable = environment.find("PARROT_CONFIG");
  if (raw.config_path.has_value()) {
    RETURN_IF_ERROR(ApplyConfigFile(table, *raw.config_path, line.options));
  } else if (config_variable != environment.end() && !config_variable->second.empty()) {
    RETURN_IF_ERROR(ApplyConfigFile(table, config_variable->second, line.options));
  }
  for (const OptionSpec& spec : table) {
    const auto variable = environment.find(EnvironmentName(spec.name));
    if (variable == environment.end()) continue;
    RETURN_IF_ERROR(Apply(spec, variable->first, variable->second, line.options));
  }
  for (const OptionSpec& spec : table) {
    const auto flag = raw.values.find(spec.name);
    if (flag == raw.values.end()) continue;
    RETURN_IF_ERROR(Apply(spec, absl::StrCat("--", spec.name), flag->second, line.options));
  }
  RETURN_IF_ERROR(ValidateOptions(line.options));
  return line;
}

std::map<std::string, std::string> ProcessEnvironment() {
  std::map<std::string, std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t end = text.find('=');
    if (end != std::string::npos) environment[text.substr(0, end)] = text.substr(end + 1);
  }
  return environment;
}

}  // namespace parrot
