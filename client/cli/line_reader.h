// Lines of a descriptor, interruptible by Ctrl-C while it waits. Confined to one thread.
#ifndef PARROT_CLIENT_CLI_LINE_READER_H_
#define PARROT_CLIENT_CLI_LINE_READER_H_

#include <string>

#include "client/cli/interrupt_watcher.h"

namespace parrot {

class LineReader {
 public:
  enum class Event {
    kLine,         // `line` without its newline
    kEnd,          // end of the input
    kInterrupted,  // a signal came; it waits in the watcher
  };

  // `fd` and `interrupts` are borrowed and outlive the reader.
  LineReader(int fd, InterruptWatcher& interrupts) : fd_(fd), interrupts_(interrupts) {}
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Blocks. A line without end is cut into pieces of 1 MiB.
  Event Next(std::string* line);

 private:
  bool TakeLine(std::string* line);

  const int fd_;
  InterruptWatcher& interrupts_;
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_LINE_READER_H_
