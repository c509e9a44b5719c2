#include "server/http/page.h"

#include <vector>

#include "kernels/base/check.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

constexpr std::string_view kStartFile = "index.html";

std::string_view content_type_of(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  DS_CHECK(false);  // server/CMakeLists.txt embeds no others
  return {};
}

std::vector<PageFile> make_page_files() {
  std::vector<PageFile> files;
  for (const EmbeddedFile& embedded : embedded_page_files()) {
    PageFile file;
    file.path = embedded.name == kStartFile ? "/" : str_cat("/page/", embedded.name);
    file.content_type = content_type_of(embedded.name);
    file.bytes = {reinterpret_cast<const char*>(embedded.bytes), embedded.size};
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace

const PageFile* find_page_file(std::string_view path) {
  static const std::vector<PageFile> files = make_page_files();
  for (const PageFile& file : files) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

std::string_view page_headers() {
  return "Content-Security-Policy: default-src 'self'; img-src data:; object-src 'none'; "
         "base-uri 'none'; form-action 'self'; frame-ancestors 'none'\r\n"
         "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
         "Cache-Control: no-cache\r\n";
}

}  // namespace deltaserve
