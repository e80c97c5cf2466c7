// Inside of Session: the core and the spaces handed out.
#pragma once

#include <mutex>
#include <vector>

#include "client/session_core.hpp"

namespace kvtier {

struct Session::Impl {
  std::shared_ptr<client::SessionCore> core;
  std::mutex mutex;
  std::vector<std::shared_ptr<Space>> spaces;  // by SpaceRecord::number
};

}  // namespace kvtier
