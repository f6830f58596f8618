// From argv, environment and configuration file to Options.
//
// Precedence: flag > PARROT_<NAME> > --config FILE > default. Names take hyphens; underscores are
// accepted everywhere. An unknown flag or key, a value out of range and a contradiction between
// options are errors that name the option, where it came from and what is allowed.
//
//   ASSIGN_OR_RETURN(ParsedCommandLine line, ParseCommandLine({argv + 1, argv + argc}, GetEnv()));
//   if (line.action == CommandLineAction::kHelp) ...
#ifndef PARROT_SERVER_OPTIONS_OPTIONS_PARSER_H_
#define PARROT_SERVER_OPTIONS_OPTIONS_PARSER_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/options/options.h"

namespace parrot {

enum class CommandLineAction {
  kServe,
  kHelp,          // --help
  kHelpMarkdown,  // --help-markdown: the text of docs/configuration.md
  kVersion,       // --version
  kPrintConfig,   // --print-config: the effective options as a configuration file
  kCheckConfig,   // --check-config: validate, report, exit
};

struct ParsedCommandLine {
  CommandLineAction action = CommandLineAction::kServe;
  Options options;
};

// `arguments` without the program's name; `environment` holds whatever the process has, of which
// only the names in the table are read. The help actions skip all validation.
[[nodiscard]] absl::StatusOr<ParsedCommandLine> ParseCommandLine(
    const std::vector<std::string>& arguments,
    const std::map<std::string, std::string>& environment);

// What one option alone cannot see: pairs that need each other, order of durations, ports that
// collide, files that are not there.
[[nodiscard]] absl::Status ValidateOptions(const Options& options);

// Things that are allowed but probably not meant, for the log: plaintext on a public address, ...
std::vector<std::string> OptionWarnings(const Options& options);

// The environment of this process.
std::map<std::string, std::string> ProcessEnvironment();

}  // namespace parrot

#endif  // PARROT_SERVER_OPTIONS_OPTIONS_PARSER_H_
