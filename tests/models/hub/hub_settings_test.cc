#include "models/hub/hub_settings.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace deltaserve {
namespace {

using Variables = std::map<std::string, std::string>;

absl::StatusOr<HubSettings> settings_of(const Variables& variables) {
  return read_hub_settings([&](const char* name) -> const char* {
    const auto entry = variables.find(name);
    return entry == variables.end() ? nullptr : entry->second.c_str();
  });
}

TEST(HubModelNames, AreOwnerAndModel) {
  const auto model = parse_hub_model("fla-hub/gla-1.3B_x");
  ASSERT_TRUE(model.has_value());
  EXPECT_EQ(model->name, "fla-hub/gla-1.3B_x");
  EXPECT_EQ(model->revision, "main");
  EXPECT_EQ(model->text(), "fla-hub/gla-1.3B_x");
  const auto branch = parse_hub_model("a/b@refs/pr/1");
  ASSERT_TRUE(branch.has_value());
  EXPECT_EQ(branch->revision, "refs/pr/1");
  EXPECT_EQ(branch->text(), "a/b@refs/pr/1");
}

TEST(HubModelNames, PathsAreNone) {
  const std::string long_name(97, 'x');
  for (const std::string& text : {std::string("model"),      std::string("./a"),
                                  std::string("../a"),       std::string("/a/b"),
                                  std::string("a/b/c"),      std::string("a/"),
                                  std::string("/b"),         std::string("a/.b"),
                                  std::string("a/b--c"),     std::string("a/b..c"),
                                  std::string("a/b.git"),    std::string("a b/c"),
                                  std::string("a/b@"),       std::string("a/b@../../x"),
                                  std::string("a/b@/x"),     std::string("a/b@x/"),
                                  std::string("a/b@.x"),     std::string("a/b@x/.y"),
                                  std::string("a/b@x y"),    std::string("a/b@x\n"),
                                  std::string("\xc3\xa4/b"), "a/" + long_name,
                                  long_name + "/b"}) {
    EXPECT_FALSE(parse_hub_model(text).has_value()) << text;
  }
}

TEST(HubSettingsOfTheEnvironment, HaveTheHubsDefaults) {
  const auto settings = settings_of({{"HOME", "/home/me"}});
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->endpoint, "https://huggingface.co");
  EXPECT_EQ(settings->cache, "/home/me/.cache/huggingface/hub");
  EXPECT_EQ(settings->token, "");
  EXPECT_FALSE(settings->offline);
  EXPECT_EQ(settings_of({})->cache, "");
}

TEST(HubSettingsOfTheEnvironment, FindTheCache) {
  Variables variables{{"HOME", "/home/me"}, {"XDG_CACHE_HOME", "/caches"}};
  EXPECT_EQ(settings_of(variables)->cache, "/caches/huggingface/hub");
  variables["HF_HOME"] = "~/hf";
  EXPECT_EQ(settings_of(variables)->cache, "/home/me/hf/hub");
  variables["HF_HUB_CACHE"] = "/models";
  EXPECT_EQ(settings_of(variables)->cache, "/models");
}

TEST(HubSettingsOfTheEnvironment, ReadWords) {
  EXPECT_TRUE(settings_of({{"HF_HUB_OFFLINE", "yes"}})->offline);
  EXPECT_FALSE(settings_of({{"HF_HUB_OFFLINE", "0"}})->offline);
  EXPECT_EQ(settings_of({{"HF_TOKEN", " hf_x\n"}})->token, "hf_x");
  EXPECT_EQ(settings_of({{"HF_TOKEN", "hf_x"}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}})->token, "");
  EXPECT_FALSE(settings_of({{"HF_TOKEN", "hf_x\r\nA: b"}}).ok());
  EXPECT_EQ(settings_of({{"HF_ENDPOINT", "http://127.0.0.1:80/"}})->endpoint,
            "http://127.0.0.1:80");
  for (const char* endpoint : {"huggingface.co", "file:///etc", "https://me@x", "https://x/?a=b"}) {
    EXPECT_FALSE(settings_of({{"HF_ENDPOINT", endpoint}}).ok()) << endpoint;
  }
}

}  // namespace
}  // namespace deltaserve
