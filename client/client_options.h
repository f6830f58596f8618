// How a ParrotClient reaches its servers, and what a single call may ask for. Plain data.
#ifndef PARROT_CLIENT_CLIENT_OPTIONS_H_
#define PARROT_CLIENT_CLIENT_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "client/cancellation.h"

namespace parrot {

// PEM texts, not paths. A client certificate is the pair cert_pem and key_pem.
struct ClientTlsOptions {
  bool enabled = false;
  std::string ca_pem;  // empty: the system's certificates
  std::string cert_pem;
  std::string key_pem;
};

struct ClientOptions {
  // HOST:PORT, or any gRPC name: "dns:///parrot.default.svc:8001" of a headless service spreads
  // calls over its pods (round_robin), "unix:PATH".
  std::string target = "127.0.0.1:8001";
  ClientTlsOptions tls;
  // Sent as `authorization: Bearer KEY`. Empty: none. Without TLS it travels in the clear.
  std::string api_key;
  // Deadline of calls that do not set their own. The server's default is the same.
  absl::Duration default_timeout = absl::Seconds(60);
  // The server's limit: a larger request fails here, before anything is sent.
  int64_t max_send_message_bytes = 16 << 20;
  int64_t max_receive_message_bytes = 16 << 20;
  // Pings while a call is in flight, so that a dead peer or proxy is noticed. The server accepts
  // one every 10 s.
  absl::Duration keepalive_time = absl::Seconds(30);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  // Attempts of one call, the first included, on UNAVAILABLE and RESOURCE_EXHAUSTED before any
  // response: 0.2 s to 5 s apart, or what the server asks for. 1: no retries; most 5.
  int32_t max_attempts = 3;
  // Images that the server was sent before go as their SHA-256, 32 bytes, and once more as bytes
  // where it has forgotten them. The answers are the same.
  bool name_known_images = true;
};

struct CallOptions {
  // From the call's start; zero: ClientOptions::default_timeout; InfiniteDuration: none.
  absl::Duration timeout = absl::ZeroDuration();
  // Metadata `x-request-id`: 1 .. 128 printable ASCII characters; empty: the server makes one.
  std::string request_id;
  // Cancels this call, from any thread. Borrowed, may be null; outlives the call.
  Cancellation* cancellation = nullptr;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_CLIENT_OPTIONS_H_
