// Report: what a benchmark found, as text, Markdown and JSON. The programs print tables through it
// so that documents hold what was measured and nothing typed.
#ifndef PARROT_BENCH_MEASURE_REPORT_H_
#define PARROT_BENCH_MEASURE_REPORT_H_

#include <string>
#include <vector>

#include "bench/measure/measure.h"

namespace parrot {

// A word, or a number shown with so many decimals (JSON has all of them).
struct Cell {
  Cell(std::string words) : text(std::move(words)) {}  // NOLINT: a row is a list of cells
  Cell(const char* words) : text(words) {}             // NOLINT
  Cell(double value, int decimals);

  std::string text;
  double number = 0.0;
  bool is_number = false;
};

struct Table {
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;
  bool json_alone = false;  // too long to read
};
// "min", "median" and "max" of a spread, for the row's end.
void AddSpread(const Spread& spread, int decimals, std::vector<Cell>& row);
// "yes" for a row that others disturbed, else "": see measure.h.
inline Cell DisturbedCell(bool disturbed) { return disturbed ? "yes" : ""; }

struct Report {
  std::string command;  // program and arguments
  std::string machine;
  int num_threads = 0;
  std::vector<Table> tables;
};

// The program's name without its folder, and the arguments that change what is measured: where
// results go is left out.
std::string CommandLine(int argc, char** argv);

// Where a report goes, besides stdout. Empty: nowhere.
struct ReportOptions {
  bool markdown = false;  // stdout gets Markdown instead of text
  std::string json;       // file
};
// Writes stdout and the files with today's date. False when a file cannot be written.
bool WriteReport(const Report& report, const ReportOptions& options);

}  // namespace parrot

#endif  // PARROT_BENCH_MEASURE_REPORT_H_
