// Starts and stops a fake daemon for the test in C.
#include <cstdlib>

#include "tests/client/fake_daemon.hpp"

extern "C" {
void* c_api_daemon_start(const char* socket);
void c_api_daemon_stop(void* daemon);
}

void* c_api_daemon_start(const char* socket) {
  return new kvtier::testing::FakeDaemon(socket);
}
void c_api_daemon_stop(void* daemon) {
  delete static_cast<kvtier::testing::FakeDaemon*>(daemon);
}
