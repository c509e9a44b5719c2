// Who may use the server: API keys and origins.
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <string>

#include "server/base/key_ring.h"
#include "server/http/cors.h"
#include "server/http/host_policy.h"
#include "server/http/page.h"

namespace deltaserve {
namespace {

TEST(KeyRing, ReadsAFile) {
  const auto ring = KeyRing::parse("# the team\n\nalpha-key\r\n  beta-key  \n#gamma\nlast", "f");
  ASSERT_TRUE(ring.ok()) << ring.status();
  EXPECT_FALSE(ring->empty());
  for (const char* good : {"alpha-key", "beta-key", "last"}) EXPECT_TRUE(ring->owner_of(good));
  for (const char* bad : {"", "alpha", "alpha-key2", "gamma", "#gamma", "ALPHA-KEY", "beta-key "}) {
    EXPECT_FALSE(ring->owner_of(bad)) << bad;
  }
  EXPECT_FALSE(ring->owner_of(std::string(1000, 'a')));
}

TEST(KeyRing, LongKeysCountToTheirEnd) {
  const std::string longest(KeyRing::kKeyBytes, 'k');
  const auto ring = KeyRing::parse(longest, "f");
  ASSERT_TRUE(ring.ok());
  EXPECT_TRUE(ring->owner_of(longest));
  EXPECT_FALSE(ring->owner_of(longest + "k"));
  EXPECT_FALSE(ring->owner_of(longest.substr(1)));
}

TEST(KeyRing, BadFilesAreNamedWithoutTheirKeys) {
  const std::string too_long(KeyRing::kKeyBytes + 1, 'k');
  const std::string long_name = "secret " + std::string(KeyRing::kNameBytes + 1, 'n');
  for (const std::string& text : std::vector<std::string>{
           "", "# only\n\n", "ok\nsecret key more", "ok\nsecr\xc3\xa4t", "ok\nsecret n\xc3\xa4me",
           "secret one\nsecret two", "secret\nsecret two", too_long, long_name}) {
    const auto ring = KeyRing::parse(text, "keys.txt");
    ASSERT_FALSE(ring.ok()) << text;
    const std::string message(ring.status().message());
    EXPECT_TRUE(message.starts_with("keys.txt")) << message;
    EXPECT_EQ(message.find("secr"), std::string::npos) << message;
    EXPECT_EQ(message.find("kkk"), std::string::npos) << message;
  }
  EXPECT_FALSE(KeyRing::load("/nonexistent").ok());
}

TEST(KeyRing, KeysOfOneNameAreOneOwner) {
  const auto ring =
      KeyRing::parse("old team\nnew \t team \nteam\nalone\nother name\nold team", "f");
  ASSERT_TRUE(ring.ok()) << ring.status();
  const auto owner = [&](std::string_view key) { return ring->owner_of(key).value(); };
  EXPECT_EQ(owner("old"), owner("new"));
  std::set<PrefixOwner> owners;
  // A key does not own what a name of the same letters owns.
  for (const char* key : {"old", "team", "alone", "other"}) owners.insert(owner(key));
  EXPECT_EQ(owners.size(), 4u);
  EXPECT_FALSE(owners.contains(PrefixOwner{}));
  EXPECT_EQ(ring->owner_of_authorization("Bearer new"), owner("old"));
  // The owner is the beginning of sha256("name:team").
  const PrefixOwner expected = {0x9f, 0x55, 0x7c, 0x93, 0xf8, 0xc1, 0xec, 0x66,
                                0x80, 0x84, 0xef, 0xb3, 0xcb, 0xcd, 0x6f, 0xbb};
  EXPECT_EQ(owner("new"), expected);
  EXPECT_EQ(KeyRing().owner_of("anything"), PrefixOwner{});
}

TEST(KeyRing, Authorization) {
  const auto ring = KeyRing::parse("abc", "f");
  ASSERT_TRUE(ring.ok());
  for (const char* good : {"Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc "}) {
    EXPECT_TRUE(ring->owner_of_authorization(good)) << good;
  }
  for (const char* bad : {"", "abc", "Bearer", "Bearer ", "Bearer abcd", "Basic abc", "Bearerabc",
                          "Bearer abc abc"}) {
    EXPECT_FALSE(ring->owner_of_authorization(bad)) << bad;
  }
  EXPECT_TRUE(KeyRing().owner_of_authorization(""));  // no keys: open
}

TEST(Cors, OffUnlessAsked) {
  const CorsPolicy off;
  EXPECT_FALSE(off.enabled());
  EXPECT_EQ(off.reply_headers("https://a.example"), "");
  EXPECT_EQ(off.preflight_headers(), "");
}

TEST(Cors, OnlyOriginsOfTheList) {
  const auto policy = CorsPolicy::parse({"https://a.example", "http://localhost:3000"});
  ASSERT_TRUE(policy.ok());
  const auto allowed = [&](std::string_view origin) {
    const std::string headers = policy->reply_headers(origin);
    EXPECT_NE(headers.find("Vary: Origin"), std::string::npos);
    return headers.find("Access-Control-Allow-Origin: " + std::string(origin) + "\r\n") !=
           std::string::npos;
  };
  EXPECT_TRUE(allowed("https://a.example"));
  EXPECT_TRUE(allowed("http://localhost:3000"));
  for (const char* other : {"https://b.example", "https://a.example.evil", "http://a.example",
                            "https://A.example", "null"}) {
    EXPECT_FALSE(allowed(other)) << other;
    EXPECT_EQ(policy->reply_headers(other).find(other), std::string::npos);
  }
}

TEST(Cors, TheStar) {
  const auto policy = CorsPolicy::parse({"*"});
  ASSERT_TRUE(policy.ok());
  const std::string headers = policy->reply_headers("https://a.example");
  EXPECT_NE(headers.find("Access-Control-Allow-Origin: *\r\n"), std::string::npos);
  EXPECT_EQ(headers.find("a.example"), std::string::npos);
  EXPECT_NE(policy->preflight_headers().find("Authorization"), std::string::npos);
}

TEST(Cors, BadOrigins) {
  for (const char* bad : {"", "a.example", "https://", "https://a/", "https://a b",
                          "https://a\r\nX: y", "https://*.a"}) {
    EXPECT_FALSE(CorsPolicy::parse({bad}).ok()) << bad;
  }
}

TEST(HostPolicy, TakesEveryNameUnlessToldOtherwise) {
  for (const char* host : {"evil.example", "", "localhost:80"}) {
    EXPECT_TRUE(HostPolicy().allows(host)) << host;
  }
}

TEST(HostPolicy, TakesTheLoopbackAndItsNames) {
  const auto policy = HostPolicy::only({"api.example", "[fd00::1]", "10.0.0.7"});
  ASSERT_TRUE(policy.ok()) << policy.status();
  for (const char* host : {"localhost", "LocalHost:8080", "localhost.", "127.0.0.1",
                           "127.255.3.4:1", "[::1]", "[::1]:8080", "api.example", "API.Example:443",
                           "api.example.", "[fd00::1]:8080", "10.0.0.7:80"}) {
    EXPECT_TRUE(policy->allows(host)) << host;
  }
  for (const char* host :
       {"", "evil.example", "api.example.evil", "localhost.evil.example", "127.0.0.1.evil.example",
        "evil.example:80", "128.0.0.1", "[::2]", "[::1", "::1:8080", "10.0.0.70", "user@localhost",
        "localhost/", "127.0.0.1@evil.example"}) {
    EXPECT_FALSE(policy->allows(host)) << host;
  }
  EXPECT_TRUE(HostPolicy::only({})->allows("127.0.0.1"));
  EXPECT_FALSE(HostPolicy::only({})->allows("a.example"));
}

TEST(HostPolicy, RefusesWhatIsNoName) {
  for (const char* bad : {"", "a b", "a.example:80", "http://a.example", "[::1]:80", "*", "a,b"}) {
    EXPECT_FALSE(HostPolicy::only({bad}).ok()) << bad;
  }
}

TEST(HostPolicy, KnowsItsOwnOrigin) {
  EXPECT_TRUE(is_own_origin("http://localhost:8080", "localhost:8080"));
  EXPECT_TRUE(is_own_origin("https://API.example", "api.example"));
  for (const char* other :
       {"http://localhost:8081", "http://localhost", "null", "", "localhost:8080",
        "http://evil.example:8080", "http://localhost:8080.evil.example"}) {
    EXPECT_FALSE(is_own_origin(other, "localhost:8080")) << other;
  }
  EXPECT_FALSE(is_own_origin("http://", ""));
}

TEST(Page, FilesAreFoundByTheirPaths) {
  const PageFile* start = find_page_file("/");
  ASSERT_NE(start, nullptr);
  EXPECT_TRUE(start->bytes.starts_with("<!doctype html>"));
  EXPECT_EQ(start->content_type, "text/html; charset=utf-8");
  const PageFile* script = find_page_file("/page/main.js");
  ASSERT_NE(script, nullptr);
  EXPECT_EQ(script->content_type, "text/javascript; charset=utf-8");
  for (const char* path :
       {"", "/page", "/page/", "/index.html", "/page/index.html", "/page/../main.js"}) {
    EXPECT_EQ(find_page_file(path), nullptr) << path;
  }
}

TEST(Page, EveryFileThatItNamesIsThere) {
  int names = 0;
  for (const EmbeddedFile& embedded : embedded_page_files()) {
    if (embedded.name.starts_with("third_party/")) continue;
    const std::string text(reinterpret_cast<const char*>(embedded.bytes), embedded.size);
    const std::regex reference("(?:(?:src|href)=\"page/|from '\\./)([\\w./]+)['\"]");
    for (std::sregex_iterator found(text.begin(), text.end(), reference), end; found != end;
         ++found) {
      const std::string path = "/page/" + (*found)[1].str();
      EXPECT_NE(find_page_file(path), nullptr) << embedded.name << " names " << path;
      ++names;
    }
  }
  EXPECT_GT(names, 10);
}

TEST(Page, ItsPolicyLetsNothingForeignRun) {
  const std::string_view headers = page_headers();
  EXPECT_EQ(headers.find("unsafe"), std::string::npos);
  EXPECT_TRUE(headers.starts_with("Content-Security-Policy: default-src 'self'; "));
  EXPECT_TRUE(headers.ends_with("\r\n"));
}

}  // namespace
}  // namespace deltaserve
