// What may be written to a terminal, and how: no control characters from other people's text, no
// colour where it is not wanted, bars for expert weights. Stateless; thread-safe.
#ifndef PARROT_CLIENT_CLI_TERMINAL_H_
#define PARROT_CLIENT_CLI_TERMINAL_H_

#include <span>
#include <string>
#include <string_view>

namespace parrot {

// How to draw on one output.
struct TerminalStyle {
  bool is_tty = false;
  bool colour = false;   // is_tty, NO_COLOR unset or empty, TERM not "dumb"
  bool unicode = false;  // is_tty and a UTF-8 locale; else bars are ASCII
};

// The style for descriptor `fd`, from the environment.
TerminalStyle StyleOf(int fd);

// `text` without what could steer a terminal: C0 controls but newline and tab, DEL, C1 controls and
// bytes that are not UTF-8 become U+FFFD. A whole number of code points in, the same out, so that
// it may be applied piece by piece.
std::string WithoutControls(std::string_view text);

// `text` dimmed, if the style has colour.
std::string Dimmed(std::string_view text, const TerminalStyle& style);

// One line per expert: "  expert 0  ######....  0.312".
std::string ExpertBars(std::span<const float> weights, const TerminalStyle& style);
// All experts in one line, for a live display.
std::string ExpertLine(std::span<const float> weights, const TerminalStyle& style);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_TERMINAL_H_
