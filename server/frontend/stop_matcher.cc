#include "server/frontend/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace parrot {

StopMatcher::StopMatcher(const std::vector<std::string>& stops) {
  automata_.reserve(stops.size());
  for (const std::string& stop : stops) {
    PARROT_CHECK(!stop.empty());
    Automaton automaton{.stop = stop, .fallback = std::vector<size_t>(stop.size() + 1, 0)};
    for (size_t i = 1; i < stop.size(); ++i) {
      size_t length = automaton.fallback[i];
      while (length > 0 && stop[length] != stop[i]) length = automaton.fallback[length];
      automaton.fallback[i + 1] = stop[length] == stop[i] ? length + 1 : 0;
    }
    automata_.push_back(std::move(automaton));
  }
}

bool StopMatcher::Step(Automaton& automaton, char byte) {
  size_t& matched = automaton.num_matched;
  while (matched > 0 && automaton.stop[matched] != byte) matched = automaton.fallback[matched];
  if (automaton.stop[matched] == byte) ++matched;
  return matched == automaton.stop.size();
}

std::optional<StopMatcher::Match> StopMatcher::Append(std::string_view text) {
  for (const char byte : text) {
    ++num_seen_;
    std::optional<Match> match;
    for (size_t i = 0; i < automata_.size(); ++i) {
      if (!Step(automata_[i], byte)) continue;
      const size_t begin = num_seen_ - automata_[i].stop.size();
      if (!match.has_value() || begin < match->begin) match = {begin, num_seen_, i};
    }
    if (match.has_value()) return match;
  }
  return std::nullopt;
}

size_t StopMatcher::num_held() const {
  size_t held = 0;
  for (const Automaton& automaton : automata_) held = std::max(held, automaton.num_matched);
  return held;
}

}  // namespace parrot
