// The certificate that a server shows, and its key.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/exchangeable.h"

namespace boost::asio::ssl {
class context;
}

namespace deltaserve {

using TlsContext = std::shared_ptr<boost::asio::ssl::context>;
// New connections take the newest context; null: in the clear.
using SharedTls = std::shared_ptr<Exchangeable<boost::asio::ssl::context>>;

// The one protocol of a port, which it selects from what its clients offer (ALPN).
enum class Protocol : uint8_t { kHttp1, kHttp2 };

// TLS 1.2 and 1.3 with a certificate chain and its key, both PEM files. INVALID_ARGUMENT names the
// file that cannot be used.
absl::StatusOr<TlsContext> load_tls(Protocol protocol, const std::string& certificate_path,
                                    const std::string& key_path);

// Returns when the first certificate of the chain is no longer valid.
absl::Time certificate_expiry(const boost::asio::ssl::context& context);

}  // namespace deltaserve
