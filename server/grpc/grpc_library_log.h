// Sends the log lines of the gRPC library to our logger, so that one stream has one format, and
// bounds them: a peer that fails TLS handshakes in a loop must not fill a disk. The library's hook
// is process-wide and has no user data, hence the one global of this program.
#ifndef PARROT_SERVER_GRPC_GRPC_LIBRARY_LOG_H_
#define PARROT_SERVER_GRPC_GRPC_LIBRARY_LOG_H_

#include "server/logging/logger.h"

namespace parrot {

// From now on errors of the library go to `logger`, ten lines a second at most, as event
// "grpc_library" with its file, line and text (which may hold addresses of peers, never payloads).
// Null: they go nowhere. Thread-safe; the logger outlives the setting.
void SetGrpcLibraryLogger(Logger* logger);

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_GRPC_LIBRARY_LOG_H_
