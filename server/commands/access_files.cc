#include "server/commands/access_files.h"

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

constexpr absl::Duration kExpiresSoon = absl::Hours(24 * 14);

void log_reload(std::string_view file, const absl::Status& status, Logger* log) {
  LogFields fields;
  fields.text("file", file).boolean("ok", status.ok());
  if (!status.ok()) fields.text("error", std::string(status.message()));
  log->write(status.ok() ? LogLevel::kInfo : LogLevel::kError, "reload", fields);
}

}  // namespace

absl::StatusOr<Access> read_access(const AccessFiles& files) {
  Access access;
  if (!files.api_keys.empty()) {
    absl::StatusOr<KeyRing> keys = KeyRing::load(files.api_keys);
    if (!keys.ok()) return prefixed("--api-key-file", keys.status());
    access.keys = *std::move(keys);
  }
  if (!files.certificate.empty()) {
    for (const auto& [protocol, tls] : {std::pair(Protocol::kHttp1, &access.http_tls),
                                        std::pair(Protocol::kHttp2, &access.grpc_tls)}) {
      absl::StatusOr<TlsContext> context = load_tls(protocol, files.certificate, files.private_key);
      if (!context.ok()) return context.status();
      *tls = std::make_shared<SharedTls::element_type>(*std::move(context));
    }
  }
  return access;
}

void reload_access(const AccessFiles& files, const Access& access, Services* services) {
  if (!files.api_keys.empty()) {
    absl::StatusOr<KeyRing> keys = KeyRing::load(files.api_keys);
    log_reload(files.api_keys, keys.status(), &services->log);
    if (keys.ok()) services->set_keys(*std::move(keys));
  }
  if (!files.certificate.empty()) {
    const absl::StatusOr<Access> fresh = read_access({"", files.certificate, files.private_key});
    log_reload(files.certificate, fresh.status(), &services->log);
    if (fresh.ok()) {
      access.http_tls->set(fresh->http_tls->get());
      access.grpc_tls->set(fresh->grpc_tls->get());
    }
    warn_of_expiry(access.http_tls, &services->log);
  }
}

void warn_of_expiry(const SharedTls& tls, Logger* log) {
  if (tls == nullptr) return;
  const absl::Time expiry = certificate_expiry(*tls->get());
  const absl::Time now = absl::Now();
  if (expiry > now + kExpiresSoon) return;
  const std::string time = absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", expiry, absl::UTCTimeZone());
  log->write(LogLevel::kWarning, expiry > now ? "certificate_expires_soon" : "certificate_expired",
             LogFields().text("not_after", time));
}

}  // namespace deltaserve
