// The table of options: one row per member of Options. The command line, the environment, the
// configuration file, --print-config, --help and docs/configuration.md are all made from it, so a
// name is spelled once. Thread-safe (a fresh table per call; rows are immutable).
#ifndef PARROT_SERVER_OPTIONS_OPTION_TABLE_H_
#define PARROT_SERVER_OPTIONS_OPTION_TABLE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/options/options.h"

namespace parrot {

struct OptionSpec {
  std::string name;      // "max-num-seqs"; the environment has PARROT_MAX_NUM_SEQS
  std::string alias;     // a second name, as other servers call it; empty if none
  std::string group;     // heading in the help: "Model", "Network", ...
  std::string type;      // "N", "SIZE", "DURATION", "FILE", "BOOL", "a|b|c", ...
  std::string help;      // one sentence, with unit and meaning of 0 or empty
  bool is_flag = false;  // may stand without a value
  bool is_list = false;  // comma-separated; may be repeated; a list in the configuration file
  // Parses one text (of a list: comma-separated) into its member; says range or choices if refused.
  std::function<absl::Status(const std::string& text, Options& options)> set;
  // The member as text that `set` reads back.
  std::function<std::string(const Options& options)> get;
};

// In the order of the help.
std::vector<OptionSpec> OptionTable();

// "PARROT_MAX_NUM_SEQS" for "max-num-seqs".
std::string EnvironmentName(const std::string& option_name);

// The row called `name` or with that alias (hyphens or underscores); null if none.
const OptionSpec* FindOption(const std::vector<OptionSpec>& table, const std::string& name);

// ", did you mean 'x'?" for the nearest name within a few edits; empty if none is near.
std::string Suggestion(const std::vector<OptionSpec>& table, const std::string& name);

}  // namespace parrot

#endif  // PARROT_SERVER_OPTIONS_OPTION_TABLE_H_
