#include "child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/check.h"

extern char** environ;

namespace parrot {
namespace {

constexpr int kPatienceMs = 20'000;

std::vector<std::string> EnvironmentWith(const std::vector<std::string>& added) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("PARROT_") && !text.starts_with("NO_COLOR")) all.emplace_back(text);
  }
  all.insert(all.end(), added.begin(), added.end());
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// One end for the child at `child_fd`, the other returned; neither leaks into other children.
int PipeTo(posix_spawn_file_actions_t* actions, int child_fd, std::vector<int>* child_ends) {
  std::array<int, 2> ends{};
  PARROT_CHECK(pipe2(ends.data(), O_CLOEXEC) == 0);
  const bool is_input = child_fd == STDIN_FILENO;
  const int child_end = is_input ? ends[0] : ends[1];
  posix_spawn_file_actions_adddup2(actions, child_end, child_fd);
  child_ends->push_back(child_end);
  return is_input ? ends[1] : ends[0];
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments,
                           Io io,
                           const std::vector<std::string>& environment) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  std::vector<int> child_ends;
  if (io == Io::kPipes) {
    input_fd_ = PipeTo(&actions, STDIN_FILENO, &child_ends);
    output_fd_ = PipeTo(&actions, STDOUT_FILENO, &child_ends);
    error_fd_ = PipeTo(&actions, STDERR_FILENO, &child_ends);
  } else {
    int terminal = -1;
    std::array<char, 256> name{};
    PARROT_CHECK(openpty(&output_fd_, &terminal, name.data(), nullptr, nullptr) == 0);
    fcntl(output_fd_, F_SETFD, FD_CLOEXEC);
    input_fd_ = output_fd_;
    // A session leader's first terminal becomes its controlling one.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, name.data(), O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, terminal);
    child_ends.push_back(terminal);
  }
  std::vector<std::string> argument_copies = arguments;
  std::vector<std::string> environment_copies = EnvironmentWith(environment);
  const int error = posix_spawn(&pid_,
                                arguments[0].c_str(),
                                &actions,
                                &attributes,
                                Pointers(argument_copies).data(),
                                Pointers(environment_copies).data());
  PARROT_CHECK(error == 0) << arguments[0];
  for (const int fd : child_ends) close(fd);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (input_fd_ != output_fd_) CloseInput();
  if (output_fd_ >= 0) close(output_fd_);
  if (error_fd_ >= 0) close(error_fd_);
}

void ChildProcess::Write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(input_fd_, text.data(), text.size());
    if (written <= 0) return;  // the child closed its end: its output tells why
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void ChildProcess::CloseInput() {
  if (input_fd_ >= 0) close(input_fd_);
  input_fd_ = -1;
}

void ChildProcess::Signal(int signal) { kill(pid_, signal); }

bool ChildProcess::ReadSome() {
  std::array<pollfd, 2> fds = {{{.fd = output_fd_, .events = POLLIN, .revents = 0},
                                {.fd = error_fd_, .events = POLLIN, .revents = 0}}};
  if (output_fd_ < 0 && error_fd_ < 0) return false;
  if (poll(fds.data(), fds.size(), kPatienceMs) <= 0) return false;
  for (pollfd& polled : fds) {
    if (polled.fd < 0 || polled.revents == 0) continue;
    const bool is_output = polled.fd == output_fd_;
    std::array<char, 4096> chunk;
    const ssize_t got = read(polled.fd, chunk.data(), chunk.size());
    if (got > 0) {
      (is_output ? output_ : error_).append(chunk.data(), static_cast<size_t>(got));
    } else if (got == 0 || errno != EINTR) {  // a terminal whose child is gone gives EIO
      if (input_fd_ == polled.fd) input_fd_ = -1;
      close(polled.fd);
      (is_output ? output_fd_ : error_fd_) = -1;
    }
  }
  return true;
}

bool ChildProcess::WaitForOutput(std::string_view text) {
  while (true) {
    const size_t found = output_.find(text, matched_);
    if (found != std::string::npos) {
      matched_ = found + text.size();
      return true;
    }
    if (!ReadSome()) return false;
  }
}

int ChildProcess::Wait() {
  while (ReadSome()) {
  }
  if (output_fd_ >= 0 || error_fd_ >= 0) return -1;
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

ChildResult RunChild(const std::vector<std::string>& arguments,
                     std::string_view input,
                     const std::vector<std::string>& environment) {
  ChildProcess child(arguments, ChildProcess::Io::kPipes, environment);
  child.Write(input);
  child.CloseInput();
  ChildResult result{.exit_code = child.Wait()};
  result.output = child.output();
  result.error = child.error();
  return result;
}

}  // namespace parrot
