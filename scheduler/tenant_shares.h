// TenantShares: how many tokens each tenant has been served, for a fair order among those that
// wait. Start-time fair queueing: a tenant that comes back after a pause starts level with the
// least served of those that are there, so a pause saves up nothing and costs nothing.
//
// Confined to the engine thread.
#ifndef PARROT_SCHEDULER_TENANT_SHARES_H_
#define PARROT_SCHEDULER_TENANT_SHARES_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"

namespace parrot {

class TenantShares {
 public:
  // A sequence of the tenant comes to life, or ends. Leave once for each Enter.
  void Enter(const std::string& tenant);
  void Leave(const std::string& tenant);
  // `tokens` positions were computed for it. REQUIRES: it is here.
  void Charge(const std::string& tenant, int64_t tokens);
  // Tokens so far, on a scale that only comparisons mean something on. 0 for a stranger.
  int64_t served(const std::string& tenant) const;

  int32_t num_tenants() const { return static_cast<int32_t>(tenants_.size()); }

 private:
  struct Tenant {
    int32_t num_live = 0;
    int64_t served = 0;
  };
  // The least served of the tenants that are here; `fallback` when none is.
  int64_t LeastServed(int64_t fallback) const;

  // Those that are here, and those that left with more than the least served: until then they would
  // win something by leaving.
  absl::flat_hash_map<std::string, Tenant> tenants_;
};

}  // namespace parrot

#endif  // PARROT_SCHEDULER_TENANT_SHARES_H_
