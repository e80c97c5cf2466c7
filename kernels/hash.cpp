// XXH3-128 with a secret, at the level in use. Any thread.
#include "kernels/hash.hpp"

#include <cstdlib>

#include "kernels/dispatch.hpp"

namespace kvtier::kernels {
namespace {

// XXH3 would read past a shorter secret.
void require_secret(size_t secret_bytes) {
  if (secret_bytes < kSecretBytesMin) [[unlikely]] {
    std::abort();
  }
}

}  // namespace

Hash128 hash128_with_secret(const void* data, size_t bytes, const void* secret,
                            size_t secret_bytes) {
  require_secret(secret_bytes);
  return detail::operations().hash128(data, bytes, secret, secret_bytes);
}

void hash128_batch(const HashBatch& batch, const void* secret, size_t secret_bytes, Hash128* out) {
  require_secret(secret_bytes);
  detail::operations().hash128_batch(batch, secret, secret_bytes, out);
}

}  // namespace kvtier::kernels
