#include "scheduler/tenant_shares.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace parrot {
namespace {

// Names may be a client's own (a trusted header): what is remembered of those that left is bounded.
constexpr size_t kMaxRemembered = 10'000;

}  // namespace

int64_t TenantShares::LeastServed(int64_t fallback) const {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.num_live > 0) least = std::min(least, tenant.served);
  }
  return least == std::numeric_limits<int64_t>::max() ? fallback : least;
}

void TenantShares::Enter(const std::string& tenant) {
  const auto it = tenants_.find(tenant);
  if (it != tenants_.end() && it->second.num_live > 0) {
    ++it->second.num_live;
    return;
  }
  const int64_t own = it == tenants_.end() ? 0 : it->second.served;
  const int64_t start = std::max(own, LeastServed(own));
  tenants_[tenant] = {.num_live = 1, .served = start};
}

void TenantShares::Leave(const std::string& tenant) {
  const auto it = tenants_.find(tenant);
  PARROT_CHECK(it != tenants_.end() && it->second.num_live > 0);
  if (--it->second.num_live > 0) return;
  const int64_t least = LeastServed(std::numeric_limits<int64_t>::max());
  const bool forget_all = tenants_.size() > kMaxRemembered;
  absl::erase_if(tenants_, [least, forget_all](const auto& entry) {
    return entry.second.num_live == 0 && (forget_all || entry.second.served <= least);
  });
}

void TenantShares::Charge(const std::string& tenant, int64_t tokens) {
  const auto it = tenants_.find(tenant);
  PARROT_CHECK(it != tenants_.end());
  it->second.served += tokens;
}

int64_t TenantShares::served(const std::string& tenant) const {
  const auto it = tenants_.find(tenant);
  return it == tenants_.end() ? 0 : it->second.served;
}

}  // namespace parrot
