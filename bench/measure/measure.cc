#include "bench/measure/measure.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <string>
#include <utility>

namespace parrot {
namespace {

constexpr double kOthersShare = 0.03;  // of a core
constexpr double kTickNoise = 2.0;

// Ticks that the cores worked for anybody but this process, since the system started.
int64_t OthersTicks() {
  std::ifstream stat("/proc/stat"), self("/proc/self/stat");
  std::string word;
  stat >> word;
  // user, nice, system, idle, iowait, irq, softirq, steal
  int64_t busy = 0;
  for (int field = 0; field < 8; ++field) {
    int64_t ticks = 0;
    stat >> ticks;
    if (field != 3 && field != 4) busy += ticks;
  }
  // After the name in parentheses: the state, ten numbers, utime and stime.
  std::string line;
  std::getline(self, line);
  line.erase(0, std::min(line.size(), line.rfind(')') + 1));
  int64_t own = 0;
  size_t at = 0;
  for (int field = 0; field < 13 && at < line.size(); ++field) {
    const size_t begin = line.find_first_not_of(' ', at);
    if (begin == std::string::npos) break;
    at = std::min(line.size(), line.find(' ', begin));
    if (field >= 11) own += std::stoll(line.substr(begin, at - begin));
  }
  return busy - own;
}

}  // namespace

double NowSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

IdleCheck::IdleCheck() : start_seconds_(NowSeconds()), start_ticks_(OthersTicks()) {}

bool IdleCheck::Disturbed() const {
  const double ticks = (NowSeconds() - start_seconds_) * static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<double>(OthersTicks() - start_ticks_) > kOthersShare * ticks + kTickNoise;
}

Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values.front(), values[(values.size() - 1) / 2], values.back()};
}

Repeated Repeat(const RepeatOptions& options, const std::function<std::vector<double>()>& measure) {
  std::vector<std::vector<double>> quiet, disturbed;
  const size_t wanted = static_cast<size_t>(std::max(1, options.repeats));
  const size_t most = wanted + static_cast<size_t>(std::max(0, options.max_extra));
  while (quiet.size() < wanted && quiet.size() + disturbed.size() < most) {
    const IdleCheck check;
    std::vector<double> values = measure();
    (check.Disturbed() ? disturbed : quiet).push_back(std::move(values));
  }
  Repeated result;
  result.disturbed = quiet.size() < wanted;
  while (quiet.size() < wanted) {
    quiet.push_back(std::move(disturbed.back()));
    disturbed.pop_back();
  }
  for (size_t i = 0; i < quiet.front().size(); ++i) {
    std::vector<double> values;
    values.reserve(quiet.size());
    for (const std::vector<double>& repeat : quiet) values.push_back(repeat[i]);
    result.values.push_back(SpreadOf(std::move(values)));
  }
  return result;
}

}  // namespace parrot
