#include "server/commands/access_files.h"

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

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
    if (!keys.ok()) return keys.status();
    access.keys = *std::move(keys);
  }
  if (!files.certificate.empty()) {
    absl::StatusOr<TlsContext> tls = load_tls(files.certificate, files.private_key);
    if (!tls.ok()) return tls.status();
    access.tls = std::make_shared<Exchangeable<boost::asio::ssl::context>>(*std::move(tls));
  }
  return access;
}

void reload_access(const AccessFiles& files, Services* services, const SharedTls& tls) {
  if (!files.api_keys.empty()) {
    absl::StatusOr<KeyRing> keys = KeyRing::load(files.api_keys);
    log_reload(files.api_keys, keys.status(), &services->log);
    if (keys.ok()) services->keys.set(std::make_shared<const KeyRing>(*std::move(keys)));
  }
  if (tls != nullptr) {
    absl::StatusOr<TlsContext> context = load_tls(files.certificate, files.private_key);
    log_reload(files.certificate, context.status(), &services->log);
    if (context.ok()) tls->set(*std::move(context));
    warn_of_expiry(tls, &services->log);
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
