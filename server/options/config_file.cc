#include "server/options/config_file.h"

#include <fstream>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "yaml-cpp/yaml.h"

namespace parrot {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

absl::Status AtLine(int line, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
}

absl::StatusOr<std::string> ScalarOrList(const YAML::Node& node, const std::string& key, int line) {
  if (node.IsNull()) return std::string();
  if (node.IsScalar()) return node.Scalar();
  if (!node.IsSequence()) {
    return AtLine(line, absl::StrCat("'", key, "' must be a scalar or a list of scalars"));
  }
  std::vector<std::string> items;
  items.reserve(node.size());
  for (const YAML::Node& item : node) {
    if (!item.IsScalar()) {
      return AtLine(line, absl::StrCat("'", key, "' must be a list of scalars"));
    }
    items.push_back(item.Scalar());
  }
  return absl::StrJoin(items, ",");
}

}  // namespace

absl::StatusOr<std::vector<ConfigEntry>> ParseConfigText(const std::string& text) {
  // yaml-cpp reports errors by exceptions; none leaves this function.
  try {
    const YAML::Node root = YAML::Load(text);
    std::vector<ConfigEntry> entries;
    if (root.IsNull()) return entries;
    if (!root.IsMap()) return AtLine(1, "the file must be a map of option names to values");
    std::set<std::string> seen;
    for (const auto& pair : root) {
      const int line = pair.first.Mark().line + 1;
      if (!pair.first.IsScalar()) return AtLine(line, "a key must be an option's name");
      const std::string key = pair.first.Scalar();
      if (!seen.insert(key).second) {
        return AtLine(line, absl::StrCat("'", key, "' is given twice"));
      }
      absl::StatusOr<std::string> value = ScalarOrList(pair.second, key, line);
      if (!value.ok()) return value.status();
      entries.push_back({.key = key, .value = *std::move(value), .line = line});
    }
    return entries;
  } catch (const YAML::Exception& error) {
    return AtLine(error.mark.line + 1, absl::StrCat("not valid YAML: ", error.msg));
  }
}

absl::StatusOr<std::vector<ConfigEntry>> ReadConfigFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError("the file cannot be read");
  std::string text(kMaxConfigBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof())) {
    return absl::NotFoundError("the file cannot be read");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the file is larger than ", kMaxConfigBytes, " bytes"));
  }
  return ParseConfigText(text);
}

}  // namespace parrot
