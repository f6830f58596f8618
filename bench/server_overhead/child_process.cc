#include "bench/server_overhead/child_process.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>

#include "base/check.h"

namespace parrot {

Peer::~Peer() {
  if (descriptor_ >= 0) close(descriptor_);
}

void Peer::Send(const nlohmann::ordered_json& value) {
  const std::string line = value.dump() + "\n";
  size_t num_sent = 0;
  while (num_sent < line.size()) {
    const ssize_t n =
        send(descriptor_, line.data() + num_sent, line.size() - num_sent, MSG_NOSIGNAL);
    PARROT_CHECK(n > 0) << "the other process has gone";
    num_sent += static_cast<size_t>(n);
  }
}

nlohmann::ordered_json Peer::Receive() {
  while (true) {
    const size_t end = received_.find('\n');
    if (end != std::string::npos) {
      const std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return nlohmann::ordered_json::parse(line);
    }
    std::array<char, 4096> buffer;
    const ssize_t n = recv(descriptor_, buffer.data(), buffer.size(), 0);
    PARROT_CHECK(n > 0) << "the other process has gone";
    received_.append(buffer.data(), static_cast<size_t>(n));
  }
}

Child::Forked Child::Fork(const std::function<void(Peer&)>& main) {
  std::array<int, 2> ends{};
  PARROT_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const pid_t pid = fork();
  PARROT_CHECK(pid >= 0) << "fork failed";
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a child never outlives its measurement
    close(ends[0]);
    {
      Peer parent(ends[1]);
      main(parent);
    }
    _exit(0);  // the parent's buffers and destructors are not this process's
  }
  close(ends[1]);
  return {pid, ends[0]};
}

Child::Child(const std::function<void(Peer&)>& main) : Child(Fork(main)) {}

Child::~Child() {
  int status = 0;
  PARROT_CHECK(waitpid(pid_, &status, 0) == pid_ && WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << "a process of the measurement has failed";
}

}  // namespace parrot
