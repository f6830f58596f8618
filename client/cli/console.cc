#include "client/cli/console.h"

#include <unistd.h>

#include <cstdio>
#include <string>

namespace parrot {
namespace {

constexpr std::string_view kWipeLine = "\r\x1b[K";

void Write(std::FILE* file, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

}  // namespace

Console::Console(bool quiet)
    : quiet_(quiet), result_style_(StyleOf(STDOUT_FILENO)), note_style_(StyleOf(STDERR_FILENO)) {}

Console::~Console() { ClearStatus(); }

void Console::Result(std::string_view text) {
  ClearStatus();
  if (result_style_.is_tty) {
    Write(stdout, WithoutControls(text));
  } else {
    Write(stdout, text);
  }
}

void Console::Note(std::string_view text) {
  if (quiet_) return;
  ClearStatus();
  Write(stderr, Dimmed(WithoutControls(text), note_style_));
}

void Console::Error(std::string_view text) {
  ClearStatus();
  Write(stderr, WithoutControls(text));
}

void Console::Status(std::string_view text) {
  if (quiet_ || !note_style_.is_tty) return;
  ClearStatus();
  Write(stderr, Dimmed(WithoutControls(text), note_style_));
  status_shown_ = true;
}

void Console::ClearStatus() {
  if (!status_shown_) return;
  Write(stderr, kWipeLine);
  status_shown_ = false;
}

void Console::Prompt(std::string_view text) {
  ClearStatus();
  if (note_style_.is_tty) Write(stderr, text);
}

}  // namespace parrot
