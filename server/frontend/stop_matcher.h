// StopMatcher: finds the first of a few stop strings in a text that comes in pieces. Whatever the
// cuts, the answer is that of the whole text: of the matches that end first, the longest.
//
// Until a match is complete, the end of the text may be the beginning of one: num_held() says how
// many bytes a reader must not be shown yet. Where text and stop strings are valid UTF-8, what is
// held and what is matched begin and end at code points.
//
//   StopMatcher matcher({"END", "\n\n"});
//   matcher.Append("one E");      // nullopt, num_held() == 1
//   matcher.Append("ND two");     // {.begin = 4, .end = 7, .stop_idx = 0}
//
// A Knuth-Morris-Pratt automaton per stop string: a few steps per byte of text, whatever the text.
// Not thread-safe.
#ifndef PARROT_SERVER_FRONTEND_STOP_MATCHER_H_
#define PARROT_SERVER_FRONTEND_STOP_MATCHER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parrot {

class StopMatcher {
 public:
  // Bytes [begin, end) of all text so far.
  struct Match {
    size_t begin = 0;
    size_t end = 0;
    size_t stop_idx = 0;
  };

  // REQUIRES: none of them is empty.
  explicit StopMatcher(const std::vector<std::string>& stops);

  // The next piece. What follows a match in the piece is not looked at. REQUIRES: no match yet.
  std::optional<Match> Append(std::string_view text);
  // The longest end of the text that begins a stop string, in bytes.
  size_t num_held() const;

 private:
  struct Automaton {
    std::string stop;
    // fallback[i]: length of the longest proper prefix of the stop string that ends its first i
    // bytes.
    std::vector<size_t> fallback;
    size_t num_matched = 0;  // bytes of the stop string that end the text
  };
  // True when the byte completes the stop string.
  static bool Step(Automaton& automaton, char byte);

  std::vector<Automaton> automata_;
  size_t num_seen_ = 0;  // bytes of text
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_STOP_MATCHER_H_
