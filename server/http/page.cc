#include "server/http/page.h"

#include <openssl/evp.h>

#include <array>

#include "models/base/text.h"

namespace deltaserve {

// CMake makes the file that defines these from index.html.
extern const unsigned char kPageHtml[];
extern const size_t kPageHtmlBytes;

namespace {

std::string sha256_source(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr);
  std::array<unsigned char, EVP_MAX_MD_SIZE * 2> base64{};
  const int length = EVP_EncodeBlock(base64.data(), digest.data(), static_cast<int>(size));
  return str_cat(
      " 'sha256-",
      std::string_view(reinterpret_cast<const char*>(base64.data()), static_cast<size_t>(length)),
      "'");
}

// Returns the hashes of the texts between <tag> and </tag>. Tags with attributes have their content
// elsewhere.
std::string hashes_of(std::string_view html, std::string_view tag) {
  const std::string open = str_cat("<", tag, ">"), close = str_cat("</", tag, ">");
  std::string out;
  for (size_t at = html.find(open); at != std::string_view::npos; at = html.find(open, at)) {
    at += open.size();
    const size_t end = html.find(close, at);
    if (end == std::string_view::npos) break;
    out += sha256_source(html.substr(at, end - at));
    at = end;
  }
  return out;
}

}  // namespace

std::string_view page_html() {
  return {reinterpret_cast<const char*>(kPageHtml), kPageHtmlBytes};
}

const std::string& page_headers() {
  static const std::string headers = str_cat(
      "Content-Security-Policy: default-src 'self'; script-src 'self'",
      hashes_of(page_html(), "script"), "; style-src 'self'", hashes_of(page_html(), "style"),
      "; img-src data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors "
      "'none'\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
      "Cache-Control: no-cache\r\n");
  return headers;
}

}  // namespace deltaserve
