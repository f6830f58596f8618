#include "client/cli/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>

namespace parrot {
namespace {

constexpr size_t kMaxLineBytes = 1 << 20;

}  // namespace

bool LineReader::TakeLine(std::string* line) {
  const size_t newline = buffer_.find('\n');
  if (newline != std::string::npos) {
    line->assign(buffer_, 0, newline);
    buffer_.erase(0, newline + 1);
    return true;
  }
  if (buffer_.size() < kMaxLineBytes && !(ended_ && !buffer_.empty())) return false;
  line->swap(buffer_);
  buffer_.clear();
  return true;
}

LineReader::Event LineReader::Next(std::string* line) {
  while (true) {
    if (TakeLine(line)) return Event::kLine;
    if (ended_) return Event::kEnd;
    std::array<pollfd, 2> fds = {{{.fd = fd_, .events = POLLIN, .revents = 0},
                                  {.fd = interrupts_.event_fd(), .events = POLLIN, .revents = 0}}};
    if (poll(fds.data(), fds.size(), /*timeout=*/-1) < 0) continue;
    if (fds[1].revents != 0) return Event::kInterrupted;
    std::array<char, 4096> chunk;
    const ssize_t got = read(fd_, chunk.data(), chunk.size());
    if (got > 0) {
      buffer_.append(chunk.data(), static_cast<size_t>(got));
    } else if (got == 0 || errno != EINTR) {
      ended_ = true;
    }
  }
}

}  // namespace parrot
