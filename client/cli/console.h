// The two outputs of the tool: results on stdout, everything about them on stderr.
//
// Text of the server, the model or a file is cleaned of control characters wherever it could reach
// a terminal; results that go to a file or a pipe stay as they are. A status line ("waiting ...")
// is transient: it shows on a terminal only and is wiped by whatever comes next. Confined to one
// thread.
#ifndef PARROT_CLIENT_CLI_CONSOLE_H_
#define PARROT_CLIENT_CLI_CONSOLE_H_

#include <string_view>

#include "client/cli/terminal.h"

namespace parrot {

class Console {
 public:
  // `quiet`: no notes and no status line.
  explicit Console(bool quiet);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  // Part of the result, written at once.
  void Result(std::string_view text);
  // About the result: dimmed, on stderr. Not shown when quiet.
  void Note(std::string_view text);
  // A failure: always shown, on stderr.
  void Error(std::string_view text);
  // Replaces the status line.
  void Status(std::string_view text);
  void ClearStatus();
  // A prompt for input; only where a person sees it.
  void Prompt(std::string_view text);

  const TerminalStyle& result_style() const { return result_style_; }
  const TerminalStyle& note_style() const { return note_style_; }

 private:
  const bool quiet_;
  const TerminalStyle result_style_;
  const TerminalStyle note_style_;
  bool status_shown_ = false;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_CONSOLE_H_
