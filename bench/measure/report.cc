#include "bench/measure/report.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <string_view>

#include "nlohmann/json.hpp"

namespace parrot {
namespace {

std::string Today() {
  const std::time_t now = std::time(nullptr);
  std::tm date = {};
  gmtime_r(&now, &date);
  char text[sizeof("2000-01-01")] = {};
  std::strftime(text, sizeof(text), "%Y-%m-%d", &date);
  return text;
}

void AppendPadded(const std::string& text, size_t width, bool right, std::string& out) {
  const std::string padding(width - std::min(width, text.size()), ' ');
  out += right ? padding + text : text + padding;
}

// Columns are as wide as their widest cell; numbers stand to the right.
std::string TableText(const Table& table, bool markdown) {
  std::vector<size_t> widths;
  std::vector<bool> is_number(table.columns.size(), false);
  for (size_t c = 0; c < table.columns.size(); ++c) {
    widths.push_back(std::max<size_t>(table.columns[c].size(), markdown ? 4 : 0));
    for (const std::vector<Cell>& row : table.rows) {
      widths[c] = std::max(widths[c], row[c].text.size());
      is_number[c] = is_number[c] || row[c].is_number;
    }
  }
  std::string out = (markdown ? "### " : "") + table.title + (markdown ? "\n\n" : "\n");
  const auto add_row = [&](const auto& text_of) {
    for (size_t c = 0; c < table.columns.size(); ++c) {
      out += markdown ? "| " : c == 0 ? "" : "  ";
      AppendPadded(text_of(c), widths[c], is_number[c], out);
      if (markdown) out += " ";
    }
    if (markdown) out += "|";
    out.erase(out.find_last_not_of(' ') + 1);
    out += "\n";
  };
  add_row([&](size_t c) { return table.columns[c]; });
  if (markdown) {
    add_row([&](size_t c) { return std::string(widths[c] - 1, '-') + (is_number[c] ? ":" : "-"); });
  }
  for (const std::vector<Cell>& row : table.rows) add_row([&](size_t c) { return row[c].text; });
  return out;
}

nlohmann::ordered_json TableJson(const Table& table) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const std::vector<Cell>& row : table.rows) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (size_t c = 0; c < row.size(); ++c) {
      if (row[c].is_number) {
        object[table.columns[c]] = row[c].number;
      } else {
        object[table.columns[c]] = row[c].text;
      }
    }
    rows.push_back(std::move(object));
  }
  return {{"title", table.title}, {"rows", std::move(rows)}};
}

}  // namespace

Cell::Cell(double value, int decimals) : number(value), is_number(true) {
  char digits[64] = {};
  std::snprintf(digits, sizeof(digits), "%.*f", decimals, value);
  text = digits;
}

void AddSpread(const Spread& spread, int decimals, std::vector<Cell>& row) {
  for (const double value : {spread.minimum, spread.median, spread.maximum}) {
    row.emplace_back(value, decimals);
  }
}

std::string CommandLine(int argc, char** argv) {
  std::string_view program = argv[0];
  program.remove_prefix(program.rfind('/') + 1);  // npos + 1 is 0
  std::string line(program);
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--json") {
      ++i;  // its file
    } else if (argument != "--markdown" && argument.rfind("--json=", 0) != 0) {
      line += ' ';
      line += argument;
    }
  }
  return line;
}

bool WriteReport(const Report& report, const ReportOptions& options) {
  const std::string threads =
      std::to_string(report.num_threads) + (report.num_threads == 1 ? " thread" : " threads");
  if (options.markdown) {
    std::cout << "`" << report.command << "`, " << threads << ", " << report.machine << ", "
              << Today() << ".\n";
  } else {
    std::cout << report.command << "\n" << report.machine << ", " << threads << "\n";
  }
  for (const Table& table : report.tables) {
    if (!table.json_alone) std::cout << "\n" << TableText(table, options.markdown);
  }
  std::cout.flush();
  if (options.json.empty()) return true;
  nlohmann::ordered_json json = {{"command", report.command},
                                 {"machine", report.machine},
                                 {"threads", report.num_threads},
                                 {"date", Today()}};
  for (const Table& table : report.tables) json["tables"].push_back(TableJson(table));
  std::ofstream file(options.json);
  file << json.dump(2) << "\n";
  return static_cast<bool>(file.flush());
}

}  // namespace parrot
