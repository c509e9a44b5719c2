#include "server/net/tls.h"

#include <boost/asio/ssl/context.hpp>
#include <ctime>
#include <string>
#include <string_view>

#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace ssl = boost::asio::ssl;

template <size_t kSize>
int choose(const unsigned char (&ours)[kSize], const unsigned char** out, unsigned char* size,
           const unsigned char* in, unsigned int in_size) {
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, size, ours, kSize - 1, in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

int choose_http1(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                 unsigned int in_size, void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  return choose(kOurs, out, size, in, in_size);
}

int choose_http2(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                 unsigned int in_size, void*) {
  static constexpr unsigned char kOurs[] = "\x02h2";
  return choose(kOurs, out, size, in, in_size);
}

// Says what is wrong with a file, where the library's own words say it to few.
std::string why(const boost::system::error_code& ec, std::string_view content) {
  const auto code = static_cast<unsigned long>(ec.value());
  if (ec.category() == boost::asio::error::get_ssl_category()) {
    if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE) {
      return str_cat("the file contains no ", content, " in PEM form");
    }
    if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH) {
      return "the key does not belong to the certificate of --tls-cert";
    }
  }
  return ec.message();
}

}  // namespace

absl::StatusOr<TlsContext> load_tls(Protocol protocol, const std::string& certificate_path,
                                    const std::string& key_path) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  boost::system::error_code ec;
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                           ssl::context::no_sslv3 | ssl::context::no_tlsv1 |
                           ssl::context::no_tlsv1_1 | ssl::context::no_compression,
                       ec);
  // A client must not make the server compute key after key on one connection.
  SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_alpn_select_cb(context->native_handle(),
                             protocol == Protocol::kHttp1 ? choose_http1 : choose_http2, nullptr);
  if (!ec) context->use_certificate_chain_file(certificate_path, ec);
  if (ec) return invalid_argument("--tls-cert ", certificate_path, ": ", why(ec, "certificate"));
  context->use_private_key_file(key_path, ssl::context::pem, ec);
  if (ec) return invalid_argument("--tls-key ", key_path, ": ", why(ec, "private key"));
  return context;
}

absl::Time certificate_expiry(const ssl::context& context) {
  // The library's accessor takes a context that is not const, but changes nothing.
  SSL_CTX* handle = const_cast<ssl::context&>(context).native_handle();
  const X509* certificate = SSL_CTX_get0_certificate(handle);
  std::tm time{};
  if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &time) != 1) {
    return absl::InfinitePast();
  }
  return absl::FromTM(time, absl::UTCTimeZone());
}

}  // namespace deltaserve
