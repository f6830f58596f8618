#include "server/options/options_text.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/options/option_table.h"

namespace parrot {
namespace {

constexpr size_t kHelpColumn = 34;
constexpr size_t kHelpWidth = 100;

// `text` in lines of at most `kHelpWidth`, each after `kHelpColumn` blanks but the first.
std::string Wrapped(const std::string& text) {
  std::string out;
  size_t column = kHelpColumn;
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  for (const std::string& word : words) {
    if (column > kHelpColumn && column + 1 + word.size() > kHelpWidth) {
      out += "\n" + std::string(kHelpColumn, ' ');
      column = kHelpColumn;
    } else if (column > kHelpColumn) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

std::string HelpLine(const std::string& left, const std::string& text) {
  std::string line = "  " + left;
  if (line.size() + 2 > kHelpColumn) {
    line += "\n" + std::string(kHelpColumn, ' ');
  } else {
    line.resize(kHelpColumn, ' ');
  }
  return line + Wrapped(text) + "\n";
}

std::string DefaultOf(const OptionSpec& spec) { return spec.get(Options()); }

// Plain where YAML reads it as the same text, else in double quotes.
std::string YamlScalar(const std::string& value) {
  bool plain = !value.empty();
  for (const char c : value) {
    const bool is_alnum =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    plain = plain && (is_alnum || c == '_' || c == '-' || c == '.' || c == '/' || c == '=');
  }
  if (plain && value.front() != '-' && value.front() != '=') return value;
  return absl::StrCat("\"", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

std::string YamlValue(const OptionSpec& spec, const std::string& value) {
  if (!spec.is_list) return YamlScalar(value);
  const std::vector<std::string> items = absl::StrSplit(value, ',', absl::SkipEmpty());
  std::string out = "[";
  for (const std::string& item : items) {
    absl::StrAppend(&out, out.size() > 1 ? ", " : "", YamlScalar(item));
  }
  return out + "]";
}

std::string MarkdownCell(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}});
}

}  // namespace

std::string HelpText() {
  std::string out =
      "parrot-server: serves a Parrot vision-language model over gRPC.\n\n"
      "Usage: parrot-server --model DIR [options]\n\n"
      "Each option is also an environment variable (--max-num-seqs: PARROT_MAX_NUM_SEQS) and a key "
      "of\nthe --config file. Flag > environment > file > default. Sizes: 4096, 16k, 4GiB. "
      "Durations: 120s, 50ms.\n\nGeneral:\n";
  out += HelpLine("--config FILE", "YAML file with the options below as keys.");
  out += HelpLine("--print-config", "Print the effective options as such a file, and exit.");
  out += HelpLine("--check-config", "Validate the options and exit: 0 valid, 2 not.");
  out += HelpLine("--help, --version", "");
  std::string group;
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.group != group) {
      group = spec.group;
      absl::StrAppend(&out, "\n", group, ":\n");
    }
    const std::string left =
        absl::StrCat("--", spec.name, spec.is_flag ? "" : absl::StrCat(" ", spec.type));
    const std::string value = DefaultOf(spec);
    out += HelpLine(left, value.empty() ? spec.help : absl::StrCat(spec.help, " [", value, "]"));
  }
  out += "\nExit codes: 0 stopped as asked, 1 failure, 2 bad options, 3 bad model files.\n";
  return out;
}

std::string ConfigText(const Options& options) {
  std::string out;
  std::string group;
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.group != group) {
      absl::StrAppend(&out, group.empty() ? "" : "\n", "# ", spec.group, "\n");
      group = spec.group;
    }
    absl::StrAppend(&out, spec.name, ": ", YamlValue(spec, spec.get(options)), "\n");
  }
  return out;
}

std::string ConfigurationPage() {
  std::string out =
      "# Configuration of parrot-server\n\n"
      "This page is the output of `parrot-server --help-markdown`; a test keeps it so.\n\n"
      "Each option is a flag (`--max-num-seqs 8`; underscores are accepted too), an environment\n"
      "variable (`PARROT_MAX_NUM_SEQS=8`) and a key of the YAML file given by `--config`\n"
      "(`max-num-seqs: 8`). Precedence: flag, environment, file, default. An unknown flag or key "
      "is\nan error. Sizes take units (`16k` = 16,000, `16K` = `16Ki` = 16,384, `4GiB`), durations "
      "too\n(`120s`, `1m30s`, `50ms`; a plain number is seconds).\n\n"
      "`--print-config` prints the effective options as a configuration file, `--check-config`\n"
      "validates them. Exit codes: 0 stopped as asked, 1 failure, 2 bad options, 3 bad model "
      "files.\n\n"
      "In Kubernetes, a Service named `parrot-http` makes the kubelet set `PARROT_HTTP_PORT` to a "
      "URL;\nset `enableServiceLinks: false` in the pod, or name the Service otherwise.\n";
  std::string group;
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.group != group) {
      group = spec.group;
      absl::StrAppend(&out,
                      "\n## ",
                      group,
                      "\n\n| option | value | default | meaning |\n",
                      "|---|---|---|---|\n");
    }
    const std::string value = DefaultOf(spec);
    const std::string alias =
        spec.alias.empty() ? "" : absl::StrCat(" (also `--", spec.alias, "`)");
    absl::StrAppend(&out,
                    "| `--",
                    spec.name,
                    "`",
                    alias,
                    " | ",
                    MarkdownCell(spec.type),
                    " | ",
                    value.empty() ? "" : absl::StrCat("`", value, "`"),
                    " | ",
                    MarkdownCell(spec.help),
                    " |\n");
  }
  return out;
}

std::map<std::string, std::string> OptionValues(const Options& options) {
  std::map<std::string, std::string> values;
  for (const OptionSpec& spec : OptionTable()) values[spec.name] = spec.get(options);
  return values;
}

}  // namespace parrot
