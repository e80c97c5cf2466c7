// Rows of kvtier doctor about the nvme tier and about who keeps host memory; see checks.hpp. Pure.
#pragma once

#include "tools/cli/doctor/checks.hpp"

namespace kvtier::tools {

Finding judge_io_uring(const Facts& facts);
Finding judge_disks(const Facts& facts);
Finding judge_keeper(const Facts& facts);

}  // namespace kvtier::tools
