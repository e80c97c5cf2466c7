// Named moments at which a test ends the daemon with SIGKILL (tests/faults/kill_points_test.cpp).
// Only the tests' own build of the daemon, with KVTIER_KILL_POINTS, has them: there the name of one
// is in the environment. In every other build a kill point is nothing at all.
#pragma once

namespace kvtier::daemon {

#ifdef KVTIER_KILL_POINTS
void kill_point(const char* name);
#else
static inline void kill_point(const char*) {}
#endif

}  // namespace kvtier::daemon
