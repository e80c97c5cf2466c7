// Rights by uid and group, targets of requests, and listening sockets.
#include "daemon/admin/access.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/admin/listen.hpp"
#include "daemon/admin/target.hpp"

namespace kvtier::daemon {
namespace {

TEST(Access, RootAndTheDaemonsUserChangeTheGroupReadsOthersNothing) {
  const gid_t readers = 500;
  EXPECT_EQ(access_of({.uid = 0}, 64000, readers), Access::kChange);
  EXPECT_EQ(access_of({.uid = 64000}, 64000, readers), Access::kChange);
  EXPECT_EQ(access_of({.uid = 1000, .gid = 500}, 64000, readers), Access::kRead);
  EXPECT_EQ(access_of({.uid = 1000, .gid = 1, .groups = {2, 500}}, 64000, readers), Access::kRead);
  EXPECT_EQ(access_of({.uid = 1000, .gid = 1, .groups = {2, 3}}, 64000, readers), Access::kNone);
  EXPECT_EQ(access_of({.uid = 1000, .gid = 500}, 64000, std::nullopt), Access::kNone);
}

TEST(Access, AMissingGroupIsNobody) {
  EXPECT_FALSE(group_number("no-such-group-here").has_value());
  EXPECT_FALSE(group_number("").has_value());
  EXPECT_EQ(group_number("root"), gid_t{0});
}

TEST(Access, ThePeerIsWhoTheKernelSays) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const auto peer = peer_of(pair[0]);
  ASSERT_TRUE(peer.has_value());
  EXPECT_EQ(peer->uid, getuid());
  EXPECT_EQ(peer->gid, getgid());
  EXPECT_EQ(peer->pid, getpid());
  EXPECT_EQ(peer->groups.size(), static_cast<size_t>(getgroups(0, nullptr)));
  close(pair[0]);
  close(pair[1]);
  EXPECT_FALSE(peer_of(-1).has_value());
}

TEST(Target, IsTakenApartAndDecoded) {
  const auto target = parse_target("/v1/chunks/a%2Fb?count=5&tenant=uid%2D1&empty=");
  ASSERT_TRUE(target.has_value());
  EXPECT_EQ(target->segments, (std::vector<std::string>{"v1", "chunks", "a/b"}));
  EXPECT_EQ(target->query.at("count"), "5");
  EXPECT_EQ(target->query.at("tenant"), "uid-1");
  EXPECT_EQ(target->query.at("empty"), "");
  EXPECT_TRUE(parse_target("/")->segments.empty());
}

TEST(Target, WhatIsBrokenIsRefused) {
  for (const char* text : {"", "v1", "*", "http://x/", "/%", "/%2", "/%zz", "/%00", "/a?%=1"}) {
    EXPECT_FALSE(parse_target(text).has_value()) << text;
  }
  std::string many;
  for (int i = 0; i < 100; ++i) many += "/a";
  EXPECT_FALSE(parse_target(many).has_value());
}

TEST(Listen, OnlyLoopbackAddressesAreTaken) {
  for (const char* text : {"0.0.0.0:0", "192.168.1.1:0", "[::]:0", "127.0.0.1", "127.0.0.1:x", ":1",
                           "127.0.0.1:70000", "example.org:1", ""}) {
    EXPECT_EQ(listen_loopback(text).code(), Code::kInvalidArgument) << text;
  }
  const auto listener = listen_loopback("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.error().message();
  EXPECT_NE(listener->port, 0);
  EXPECT_EQ(listen_loopback("127.0.0.1:" + std::to_string(listener->port)).code(), Code::kSystem);
  close(listener->fd);
}

}  // namespace
}  // namespace kvtier::daemon
