// See old_epoch.hpp.
#include "daemon/core/old_epoch.hpp"

#include <sys/stat.h>

#include "daemon/memory/memfd.hpp"
#include "kvtier/wire/published.hpp"

namespace kvtier::daemon {

std::vector<std::string> close_published(KeptFds& kept) {
  std::vector<std::string> names;
  for (KeptFd& one : kept.take_all(Ledger::published_prefix())) {
    names.push_back(one.name);
    // Which pages it has does not matter: the header is within the first of them.
    Result<Memfd> memory =
        adopt_memfd(std::move(one.fd), sizeof(wire::PublishedHeader), Pages::kSmall);
    if (!memory.ok()) continue;  // nobody could have attached to it: clients check the same
    auto* header = reinterpret_cast<wire::PublishedHeader*>(memory->mapping.data());
    if (header->magic != wire::kPublishedMagic) continue;
    header->epoch.store(0, std::memory_order_seq_cst);
  }
  return names;
}

}  // namespace kvtier::daemon
