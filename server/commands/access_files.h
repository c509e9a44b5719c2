// The files that say who may use a server and how it shows itself: API keys, certificate and its
// key. They may be exchanged while the server runs.
#pragma once
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/key_ring.h"
#include "server/net/tls.h"
#include "server/observe/log.h"
#include "server/service/services.h"

namespace deltaserve {

// Paths of the files; an empty one means that there is no such file.
struct AccessFiles {
  std::string api_keys;
  std::string certificate, private_key;  // both or none
};

// Holds what the files say.
struct Access {
  KeyRing keys;
  SharedTls http_tls, grpc_tls;  // null: in the clear
};

// Errors name the file, and the line of a key file.
absl::StatusOr<Access> read_access(const AccessFiles& files);

// Reads the files again and gives the contents to `services` and to all that share `access`. If a
// file cannot be used, its old contents stay in use. Writes the result to the log.
void reload_access(const AccessFiles& files, const Access& access, Services* services);

// Writes a warning to the log if the certificate has expired or will soon.
void warn_of_expiry(const SharedTls& tls, Logger* log);

}  // namespace deltaserve
