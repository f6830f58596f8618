// A program under test as a child process, with pipes or a terminal of its own. Confined to one
// thread. Every wait ends after 20 s.
#ifndef PARROT_TESTS_CLIENT_CHILD_PROCESS_H_
#define PARROT_TESTS_CLIENT_CHILD_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace parrot {

class ChildProcess {
 public:
  enum class Io {
    kPipes,     // standard output and error apart
    kTerminal,  // one pseudo-terminal for all three, also the controlling one: Ctrl-C is "\x03"
  };

  // `environment` ("NAME=value") is added to this process's own, less any PARROT_ variables.
  ChildProcess(const std::vector<std::string>& arguments,
               Io io,
               const std::vector<std::string>& environment = {});
  // Kills what still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void Write(std::string_view text);
  void CloseInput();
  void Signal(int signal);
  // Reads until the output from where the last match ended holds `text`; false if it never does.
  [[nodiscard]] bool WaitForOutput(std::string_view text);
  // Reads to the end. The exit code, or 128 + the signal that killed it, or -1 after too long.
  int Wait();

  const std::string& output() const { return output_; }  // a terminal's: everything
  const std::string& error() const { return error_; }

 private:
  // False when nothing is left to read or nothing came in time.
  bool ReadSome();

  pid_t pid_ = -1;
  int input_fd_ = -1;
  int output_fd_ = -1;
  int error_fd_ = -1;
  std::string output_;
  std::string error_;
  size_t matched_ = 0;  // of output_
};

struct ChildResult {
  int exit_code = -1;
  std::string output;
  std::string error;
};

// Runs to the end with `input` on a pipe.
ChildResult RunChild(const std::vector<std::string>& arguments,
                     std::string_view input = "",
                     const std::vector<std::string>& environment = {});

}  // namespace parrot

#endif  // PARROT_TESTS_CLIENT_CHILD_PROCESS_H_
