// Who may use the server: API keys and origins.
#include <gtest/gtest.h>

#include "server/base/key_ring.h"
#include "server/http/cors.h"
#include "server/http/page.h"

namespace deltaserve {
namespace {

TEST(KeyRing, ReadsAFile) {
  const auto ring = KeyRing::parse("# the team\n\nalpha-key\r\n  beta-key  \n#gamma\nlast", "f");
  ASSERT_TRUE(ring.ok()) << ring.status();
  EXPECT_FALSE(ring->empty());
  for (const char* good : {"alpha-key", "beta-key", "last"}) EXPECT_TRUE(ring->allows(good));
  for (const char* bad : {"", "alpha", "alpha-key2", "gamma", "#gamma", "ALPHA-KEY", "beta-key "}) {
    EXPECT_FALSE(ring->allows(bad)) << bad;
  }
  EXPECT_FALSE(ring->allows(std::string(1000, 'a')));
}

TEST(KeyRing, LongKeysCountToTheirEnd) {
  const std::string longest(KeyRing::kKeyBytes, 'k');
  const auto ring = KeyRing::parse(longest, "f");
  ASSERT_TRUE(ring.ok());
  EXPECT_TRUE(ring->allows(longest));
  EXPECT_FALSE(ring->allows(longest + "k"));
  EXPECT_FALSE(ring->allows(longest.substr(1)));
}

TEST(KeyRing, BadFilesAreNamedWithoutTheirKeys) {
  const std::string too_long(KeyRing::kKeyBytes + 1, 'k');
  for (const std::string& text : std::vector<std::string>{"", "# only\n\n", "ok\nsecret key",
                                                          "ok\nsecr\xc3\xa4t", too_long}) {
    const auto ring = KeyRing::parse(text, "keys.txt");
    ASSERT_FALSE(ring.ok()) << text;
    const std::string message(ring.status().message());
    EXPECT_TRUE(message.starts_with("keys.txt")) << message;
    EXPECT_EQ(message.find("secr"), std::string::npos) << message;
    EXPECT_EQ(message.find("kkk"), std::string::npos) << message;
  }
  EXPECT_FALSE(KeyRing::load("/nonexistent").ok());
}

TEST(KeyRing, Authorization) {
  const auto ring = KeyRing::parse("abc", "f");
  ASSERT_TRUE(ring.ok());
  for (const char* good : {"Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc "}) {
    EXPECT_TRUE(ring->allows_authorization(good)) << good;
  }
  for (const char* bad : {"", "abc", "Bearer", "Bearer ", "Bearer abcd", "Basic abc", "Bearerabc",
                          "Bearer abc abc"}) {
    EXPECT_FALSE(ring->allows_authorization(bad)) << bad;
  }
  EXPECT_TRUE(KeyRing().allows_authorization(""));  // no keys: open
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

TEST(Page, ItsPolicyKnowsItsStyles) {
  EXPECT_TRUE(page_html().starts_with("<!doctype html>"));
  const std::string& headers = page_headers();
  EXPECT_NE(headers.find("style-src 'self' 'sha256-"), std::string::npos) << headers;
  EXPECT_NE(headers.find("X-Content-Type-Options: nosniff\r\n"), std::string::npos);
  EXPECT_EQ(headers.find("unsafe"), std::string::npos);
  EXPECT_TRUE(headers.ends_with("\r\n"));
}

}  // namespace
}  // namespace deltaserve
